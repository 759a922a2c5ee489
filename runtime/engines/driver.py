"""NVIDIA's driver, called directly: what the Python packages leave out, and what can be asked before they load.

Two uses: the description of the GPU, and CUDA graphs, which PyCUDA has no words for.
"""

import ctypes
from collections.abc import Callable
from typing import Any

NAMES = ("libcuda.so.1", "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1")
"""Where the driver's library lies; the second is a Jetson's place, which the linker need not know."""
_CAPTURE_THREAD_LOCAL = 1  # others may go on allocating while one thread captures
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute


class CudaError(Exception):
    """A call of the driver failed; `code` is its CUresult."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} returned the CUDA error {code}")
        self.code = code


def load(names: tuple[str, ...] = NAMES, open_library: Callable[[str], Any] = ctypes.CDLL) -> Any:  # noqa: ANN401
    """Open the driver's library.

    Raises:
        OSError: There is none.
    """
    for name in names[:-1]:
        try:
            return open_library(name)
        except OSError:
            continue
    return open_library(names[-1])


def call(cuda: Any, name: str, *arguments: object) -> None:  # noqa: ANN401 - a native library
    """Call the driver.

    Raises:
        CudaError: It did not succeed.
    """
    if code := getattr(cuda, name)(*arguments):
        raise CudaError(name, code)


def describe(cuda: Any) -> dict[str, object]:  # noqa: ANN401 - a native library
    """Ask the driver about its first GPU; the fields of `Gpu`.

    Raises:
        CudaError: There is none, or it does not answer.
    """
    call(cuda, "cuInit", 0)
    device, version, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    call(cuda, "cuDeviceGet", ctypes.byref(device), 0)
    call(cuda, "cuDriverGetVersion", ctypes.byref(version))
    call(cuda, "cuDeviceGetName", name, len(name), device)
    call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor, integrated = (_attribute(cuda, key, device) for key in (_MAJOR, _MINOR, _INTEGRATED))
    return {
        "name": name.value.decode("utf-8", "replace"),
        "capability": f"{major}.{minor}",
        "memory_bytes": memory.value,
        "integrated": bool(integrated),
        "driver": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def _attribute(cuda: Any, key: int, device: ctypes.c_int) -> int:  # noqa: ANN401 - a native library
    value = ctypes.c_int()
    call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), key, device)
    return value.value


class Graphs:
    """CUDA graphs: a sequence of work recorded once from a stream, and launched as one. Handles are plain numbers.

    Each method raises CudaError where the driver refuses.
    """

    def __init__(self, cuda: Any) -> None:  # noqa: ANN401 - a native library
        self._cuda = cuda

    def begin(self, stream: int) -> None:
        """Record what comes into the stream from now on, in place of doing it."""
        call(self._cuda, "cuStreamBeginCapture_v2", ctypes.c_void_p(stream), _CAPTURE_THREAD_LOCAL)

    def end(self, stream: int) -> int:
        """Stop recording, and return what can be launched."""
        graph, made = ctypes.c_void_p(), ctypes.c_void_p()
        call(self._cuda, "cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            call(self._cuda, "cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_ulonglong(0))
        finally:
            call(self._cuda, "cuGraphDestroy", graph)
        return made.value or 0

    def launch(self, graph: int, stream: int) -> None:
        """Put the recorded work into the stream."""
        call(self._cuda, "cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def free(self, graph: int) -> None:
        """Forget the recorded work."""
        call(self._cuda, "cuGraphExecDestroy", ctypes.c_void_p(graph))
