"""A GPU's memory through cuda-python's driver bindings. Its objects never leave this file."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ..engines.driver import CudaError
from ..types import AnyArray
from .device_memory import Pinned

_INTEGRATED = "CU_DEVICE_ATTRIBUTE_INTEGRATED"
_DEVICEMAP = 2  # CU_MEMHOSTALLOC_DEVICEMAP


class CudaPythonMemory:
    """The first GPU's primary context, retained until `close`."""

    def __init__(self) -> None:
        self._cuda: Any = import_module("cuda.bindings.driver")
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", 0)
        attribute = getattr(self._cuda.CUdevice_attribute, _INTEGRATED)
        self.integrated = bool(self._call("cuDeviceGetAttribute", attribute, self._device))
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's own for a while."""
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def allocate(self, count: int) -> int:
        """Take memory of the GPU."""
        return int(self._call("cuMemAlloc", count))

    def free(self, address: int) -> None:
        """Give memory of the GPU back."""
        self._call("cuMemFree", address)

    def allocate_pinned(self, count: int, mapped: bool) -> Pinned:
        """Take host memory."""
        pointer = int(self._call("cuMemHostAlloc", count, _DEVICEMAP if mapped else 0))
        address = int(self._call("cuMemHostGetDevicePointer", pointer, 0)) if mapped else 0
        bytes_there = (ctypes.c_uint8 * count).from_address(pointer)
        return Pinned(np.ctypeslib.as_array(bytes_there), address, pointer)

    def free_pinned(self, pinned: Pinned) -> None:
        """Give host memory back."""
        self._call("cuMemFreeHost", pinned.owner)

    def open_stream(self) -> int:
        """Make a stream that does not wait for the default one."""
        flag = self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING
        return int(self._call("cuStreamCreate", int(flag)))

    def close_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._call("cuStreamDestroy", stream)

    def upload(self, address: int, array: AnyArray, stream: int) -> None:
        """Copy a pinned array to the GPU."""
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: AnyArray, address: int, stream: int) -> None:
        """Copy from the GPU into a pinned array."""
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream)

    def copy(self, to: int, source: int, count: int, stream: int) -> None:
        """Copy bytes within the GPU."""
        self._call("cuMemcpyDtoDAsync", to, source, count, stream)

    def synchronise(self, stream: int) -> None:
        """Wait until everything in the stream is done."""
        self._call("cuStreamSynchronize", stream)

    def begin_capture(self, stream: int) -> None:
        """Record what comes into the stream."""
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """Stop recording and return a graph."""
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return int(self._call("cuGraphInstantiate", graph, 0))
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Put a graph's work into the stream."""
        self._call("cuGraphLaunch", graph, stream)

    def free_graph(self, graph: int) -> None:
        """Drop a graph."""
        self._call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """Release the primary context."""
        if self._context is not None:
            self._context = None
            self._call("cuDevicePrimaryCtxRelease", self._device)

    def _call(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the driver returns
        """Call the driver; its first answer is the error, the second the value.

        Raises:
            CudaError: It did not succeed.
        """
        code, *values = getattr(self._cuda, name)(*arguments)
        if int(code):
            raise CudaError(name, int(code))
        return values[0] if values else None
