"""The seam between our use of an NVIDIA GPU and the package that reaches it: memory, copies, streams, graphs.

PyCUDA comes first and cuda-python where that is missing; tests have a fake. Addresses, streams and graphs are plain
numbers, as TensorRT takes them. Nothing here knows of tensors or engines.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from ..errors import MissingExtraError, UsageError
from ..types import AnyArray

PACKAGES = ("pycuda", "cuda-python")


@dataclass(frozen=True, eq=False)
class Pinned:
    """Host memory that the system does not move.

    Attributes:
        array: uint8, one axis.
        address: Where the GPU sees the same bytes, or 0 where it does not.
        owner: What the package needs to free it.
    """

    array: AnyArray
    address: int
    owner: object = None


class DeviceMemory(Protocol):
    """One GPU through its primary context, which every library of a process shares.

    Contract:
        - All methods but `current` and `close` are called within `current`, on the thread that entered it.
        - Copies and launches are put into a stream and may happen at any time until `synchronise` returns; host arrays
          must stay as they are until then.
        - What was allocated is freed by the caller; `close` gives the context back and may be called twice.
        - Errors are the package's own; `cuda_failure` knows them.
    """

    @property
    def integrated(self) -> bool:
        """Whether the GPU shares the processor's memory, so that pinned memory needs no copy."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Make the context this thread's own for a while."""
        ...

    def allocate(self, count: int) -> int:
        """Take `count` bytes of the GPU's memory and return their address."""
        ...

    def free(self, address: int) -> None:
        """Give memory of the GPU back."""
        ...

    def allocate_pinned(self, count: int, mapped: bool) -> Pinned:
        """Take `count` bytes of host memory; `mapped`: the GPU is to see them too."""
        ...

    def free_pinned(self, pinned: Pinned) -> None:
        """Give host memory back."""
        ...

    def open_stream(self) -> int:
        """Make a stream."""
        ...

    def close_stream(self, stream: int) -> None:
        """Drop a stream with nothing left in it."""
        ...

    def upload(self, address: int, array: AnyArray, stream: int) -> None:
        """Copy a pinned array to the GPU."""
        ...

    def download(self, array: AnyArray, address: int, stream: int) -> None:
        """Copy from the GPU into a pinned array."""
        ...

    def copy(self, to: int, source: int, count: int, stream: int) -> None:
        """Copy bytes within the GPU."""
        ...

    def synchronise(self, stream: int) -> None:
        """Wait until everything in the stream is done."""
        ...

    def begin_capture(self, stream: int) -> None:
        """Record what comes into the stream in place of doing it."""
        ...

    def end_capture(self, stream: int) -> int:
        """Stop recording and return a graph."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Put a graph's work into the stream."""
        ...

    def free_graph(self, graph: int) -> None:
        """Drop a graph."""
        ...

    def close(self) -> None:
        """Give the context back."""
        ...


def open_memory(package: str = "auto") -> DeviceMemory:
    """Open the first GPU.

    Args:
        package: "pycuda", "cuda-python", or "auto" for the first of the two that is installed.

    Raises:
        UsageError: If no package has this name.
        MissingExtraError: If it is not installed.
        Exception: What the package raises where there is no driver; `cuda_failure` knows it.
    """
    if package not in ("auto", *PACKAGES):
        raise UsageError(f"a CUDA package among {', '.join(PACKAGES)}", repr(package), "name one of these, or auto")
    here = [name for name in PACKAGES if _installed(name)]
    wanted = here[0] if package == "auto" and here else package
    if wanted not in here:
        remedy = "pip install 'medsam-edge[tensorrt]' (PyCUDA), or 'medsam-edge[cuda-python]'"
        raise MissingExtraError("PyCUDA or cuda-python", ", ".join(here) or "neither", remedy)
    if wanted == "pycuda":
        from .device_pycuda import PyCudaMemory

        return PyCudaMemory()
    from .device_cuda_python import CudaPythonMemory

    return CudaPythonMemory()


def _installed(package: str) -> bool:
    try:
        return find_spec("pycuda" if package == "pycuda" else "cuda.bindings") is not None
    except ModuleNotFoundError:  # no package `cuda` at all
        return False
