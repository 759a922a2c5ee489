"""A GPU's memory through PyCUDA. Its objects never leave this file.

`pycuda.autoinit` is never imported: it would make a context of its own beside the one that TensorRT uses. PyCUDA has no
words for CUDA graphs, so those go to the driver itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ..engines.driver import Graphs, load
from ..types import AnyArray
from .device_memory import Pinned


class PyCudaMemory:
    """The first GPU's primary context, retained until `close`."""

    def __init__(self) -> None:
        self._cuda: Any = import_module("pycuda.driver")
        self._cuda.init()
        device = self._cuda.Device(0)
        self.integrated = bool(device.get_attribute(self._cuda.device_attribute.INTEGRATED))
        self._context = device.retain_primary_context()
        self._graphs = Graphs(load())
        self._allocations: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's own for a while."""
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def allocate(self, count: int) -> int:
        """Take memory of the GPU."""
        allocation = self._cuda.mem_alloc(count)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """Give memory of the GPU back."""
        self._allocations.pop(address).free()

    def allocate_pinned(self, count: int, mapped: bool) -> Pinned:
        """Take host memory."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        array = self._cuda.pagelocked_empty(count, np.uint8, mem_flags=flags)
        return Pinned(array, int(array.base.get_device_pointer()) if mapped else 0, array.base)

    def free_pinned(self, pinned: Pinned) -> None:
        """Give host memory back."""
        owner: Any = pinned.owner
        owner.free()

    def open_stream(self) -> int:
        """Make a stream."""
        stream = self._cuda.Stream()
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def close_stream(self, stream: int) -> None:
        """Drop a stream: PyCUDA destroys it with its object."""
        del self._streams[stream]

    def upload(self, address: int, array: AnyArray, stream: int) -> None:
        """Copy a pinned array to the GPU."""
        self._cuda.memcpy_htod_async(address, array, self._streams[stream])

    def download(self, array: AnyArray, address: int, stream: int) -> None:
        """Copy from the GPU into a pinned array."""
        self._cuda.memcpy_dtoh_async(array, address, self._streams[stream])

    def copy(self, to: int, source: int, count: int, stream: int) -> None:
        """Copy bytes within the GPU."""
        self._cuda.memcpy_dtod_async(to, source, count, self._streams[stream])

    def synchronise(self, stream: int) -> None:
        """Wait until everything in the stream is done."""
        self._streams[stream].synchronize()

    def begin_capture(self, stream: int) -> None:
        """Record what comes into the stream."""
        self._graphs.begin(stream)

    def end_capture(self, stream: int) -> int:
        """Stop recording and return a graph."""
        return self._graphs.end(stream)

    def launch(self, graph: int, stream: int) -> None:
        """Put a graph's work into the stream."""
        self._graphs.launch(graph, stream)

    def free_graph(self, graph: int) -> None:
        """Drop a graph."""
        self._graphs.free(graph)

    def close(self) -> None:
        """Release the primary context."""
        if self._context is not None:
            self._context.detach()
            self._context = None
