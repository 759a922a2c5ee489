"""TensorRT's own messages as errors of ours: what went wrong, and what the person can do.

The library says most of it in words only, which differ between versions; what no pattern here knows is passed on as it
stands.
"""

import re
from collections.abc import Sequence

from ..errors import (
    BackendError,
    BundleError,
    DeviceLostError,
    DeviceMemoryError,
    DriverError,
    EngineError,
    WorkspaceError,
)
from ..errors import MedSAMEdgeError as Error

_Rule = tuple[re.Pattern[str], type[Error], str, str]
STICKY = frozenset({214, 700, 702, 710, 714, 715, 716, 717, 718, 719})
"""The CUDA errors after which no call of the process reaches the GPU: illegal addresses, launches that failed, ECC."""


def _rule(words: str, kind: type[Error], expected: str, remedy: str) -> _Rule:
    return re.compile(words, re.IGNORECASE), kind, expected, remedy


_NEW_PROCESS = "start the program again, this process has lost the GPU; if it stays, read the driver's word in `dmesg`"
_RULES: tuple[_Rule, ...] = (
    _rule(
        r"illegal memory access|illegal address|launch fail|misaligned address|illegal instruction|uncorrectable|"
        r"device-side assert|unspecified launch",
        DeviceLostError,
        "a GPU that answers",
        _NEW_PROCESS,
    ),
    _rule(
        r"CUDA initialization failure|insufficient driver|driver version is insufficient|no CUDA-capable|"
        r"factory function returned nullptr",
        DriverError,
        "a GPU that TensorRT can use",
        "check `nvidia-smi`; in a container, run it with --gpus all or --runtime nvidia",
    ),
    _rule(
        r"no tactics?\b.*workspace|workspace.*(insufficient|too small|not enough|limit)|"
        r"insufficient.*(workspace|memory pool)|could not find any implementation",
        WorkspaceError,
        "a workspace in which every operator can run",
        "name a larger --workspace",
    ),
    _rule(
        r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|alloc\w* .*fail|failed to alloc|std::bad_alloc",
        DeviceMemoryError,
        "enough memory for TensorRT",
        "close other programs, name a smaller --workspace or fewer --max-boxes",
    ),
    _rule(
        r"version tag|serialization version|different version|not compatible with|magic ?tag|"
        r"engine plan file is (not compatible|generated)|deserializ|serialized engine|platform",
        EngineError,
        "an engine of this device and this TensorRT",
        "build it again: `medsam-edge build BUNDLE`",
    ),
)


def explained(messages: Sequence[str], doing: str, where: str = "") -> Error:
    """Turn what the library said into an error.

    Args:
        messages: Its errors, the first one first.
        doing: What was asked of it, "to build the encoder".
        where: What it was asked about, for the message.
    """
    text = " | ".join(messages) or "no message"
    found = f"{where + ': ' if where else ''}{_shortened(messages)}"
    for words, kind, expected, remedy in _RULES:
        if words.search(text):
            return kind(expected, found, remedy)
    return BackendError(f"TensorRT {doing}", found, "run it again; if it stays, name another --precision or --backend")


def unsupported(part: str, node: str, operator: str, said: str, version: str) -> BundleError:
    """Return the error for a node that the parser refuses."""
    return BundleError(
        f"operators that TensorRT {version} knows in the {part}",
        f"{operator or 'an operator'} in the node {node or '(unnamed)'}: {said[:300]}",
        "update TensorRT, or export the bundle again with this version of medsam-edge",
    )


def cuda_failure(error: Exception, doing: str) -> Error:
    """Return the error of ours for what PyCUDA or cuda-python raised; one of ours stays what it is."""
    if isinstance(error, Error):
        return error
    code = getattr(error, "code", None)
    if code in STICKY:
        return DeviceLostError("a GPU that answers", str(error), _NEW_PROCESS)
    if code == 2 or isinstance(error, MemoryError) or type(error).__name__ == "MemoryError":
        remedy = "close other programs, use fewer boxes per call or a smaller model"
        return DeviceMemoryError("enough memory on the GPU", str(error) or "an allocation that failed", remedy)
    return explained([f"{type(error).__name__}: {error}"], doing)


def _shortened(messages: Sequence[str]) -> str:
    text = next((one for one in messages if one.strip()), "no message")
    return " ".join(text.split())[:400]
