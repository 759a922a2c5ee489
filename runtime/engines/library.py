"""Which TensorRT is here, and whether it is one that this toolkit knows.

The enterprise library and the one for RTX PCs have the same Python names under two module names, so one adapter serves
both. It is imported nowhere but here.
"""

import re
from importlib import import_module
from typing import Any

from ..errors import MachineError, MissingExtraError

MODULES = {"enterprise": "tensorrt", "rtx": "tensorrt_rtx"}
EXTRAS = {"enterprise": "tensorrt", "rtx": "tensorrt-rtx"}
OLDEST, BEYOND = (10, 3), (12,)
"""The enterprise library's versions: the first and the first that is too new. 10.3 is JetPack 6's."""


def library(flavour: str) -> Any:  # noqa: ANN401 - a native module without types
    """Import TensorRT.

    Args:
        flavour: "enterprise" or "rtx".

    Raises:
        MissingExtraError: It is not installed, or not for this Python.
        MachineError: It does not load, or is of a version that this toolkit does not know.
    """
    name = MODULES[flavour]
    try:
        trt = import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"the Python module {name}", "none for this Python", _install(flavour)) from error
    except Exception as error:  # a binary that does not load raises what it likes
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MachineError(f"a working {name}", found, _install(flavour)) from error
    if flavour == "enterprise":
        check_version(str(trt.__version__))
    return trt


def check_version(version: str) -> None:
    """Refuse a version whose names are others.

    Raises:
        MachineError: It is older than 10.3, which has no strongly typed networks that hold, or of a major version that
            did not exist when this toolkit was written.
    """
    if not OLDEST <= numbers(version) < BEYOND:
        remedy = "install TensorRT 10.3 to 11 (JetPack 6.1 or newer brings it), or name another --backend"
        raise MachineError("TensorRT from 10.3 to 11", version, remedy)


def numbers(version: str) -> tuple[int, ...]:
    """Read "10.16.1.11" as numbers, to compare."""
    return tuple(map(int, re.findall(r"\d+", version)))


def _install(flavour: str) -> str:
    command = f"pip install 'medsam-edge[{EXTRAS[flavour]}]'"
    if flavour == "rtx":
        return command
    return f"{command}; on a Jetson use the system's Python with --system-site-packages: JetPack brings TensorRT"
