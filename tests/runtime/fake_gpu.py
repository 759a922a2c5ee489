"""A GPU that is stricter than a real one, so that a forgotten call fails a test and not a patient.

Work put into a stream is done when somebody waits for it and not before; memory starts as rubbish, and touching what is
not allocated, or without a context, is an error.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from medsam_edge.runtime.backends.device_memory import Pinned
from medsam_edge.runtime.types import AnyArray

Loose = Any  # a module beside the tests, or what it makes

RUBBISH = 0xCD
Work = Callable[[], None]


class CudaFaultError(Exception):
    """As cuda-python's and PyCUDA's errors become."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class FakeGpu:
    """The state that every part of a process shares: memory, streams, graphs, and who holds the context."""

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.memory: dict[int, AnyArray] = {}
        self.pinned: list[AnyArray] = []
        self.streams: dict[int, list[Work]] = {}
        self.capturing: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.retained = 0
        self.active = threading.local()
        self.calls: Counter[str] = Counter()
        self.fault: tuple[str, Exception] | None = None
        self._next = 0x7000_0000

    def number(self) -> int:
        self._next += 0x10000
        return self._next

    def used(self) -> int:
        return sum(array.nbytes for array in self.memory.values())

    def at(self, address: int, count: int) -> AnyArray:
        assert address in self.memory, f"{address:#x} is no memory of the GPU"
        assert count <= self.memory[address].nbytes, "beyond the end of an allocation"
        return self.memory[address][:count]

    def enqueue(self, stream: int, work: Work) -> None:
        assert getattr(self.active, "depth", 0) > 0, "no context is current on this thread"
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            self.streams[stream].append(work)

    def left(self) -> dict[str, int]:
        """Whatever somebody forgot to give back."""
        kinds = ("memory", "pinned", "streams", "capturing", "graphs")
        left = {name: len(getattr(self, name)) for name in kinds} | {"contexts": self.retained}
        return {name: count for name, count in left.items() if count}


class FakeMemory:
    """One holder of the context."""

    def __init__(self, gpu: FakeGpu, integrated: bool = False) -> None:
        self.gpu, self.integrated, self._open = gpu, integrated, True
        gpu.retained += 1

    @contextmanager
    def current(self) -> Iterator[None]:
        assert self._open
        depth = getattr(self.gpu.active, "depth", 0)
        self.gpu.active.depth = depth + 1
        try:
            yield
        finally:
            self.gpu.active.depth = depth

    def _called(self, name: str) -> None:
        assert self._open, "the context was given back"
        assert getattr(self.gpu.active, "depth", 0) > 0, "no context is current on this thread"
        self.gpu.calls[name] += 1
        if self.gpu.fault and self.gpu.fault[0] == name:
            fault, self.gpu.fault = self.gpu.fault[1], None
            raise fault

    def allocate(self, count: int) -> int:
        self._called("allocate")
        if self.gpu.used() + count > self.gpu.limit:
            raise CudaFaultError(2, "cuMemAlloc failed: out of memory")
        address = self.gpu.number()
        self.gpu.memory[address] = np.full(count, RUBBISH, np.uint8)
        return address

    def free(self, address: int) -> None:
        self._called("free")
        assert not any(self.gpu.streams.values()), "freed while work that may use it waits"
        del self.gpu.memory[address]

    def allocate_pinned(self, count: int, mapped: bool) -> Pinned:
        self._called("allocate_pinned")
        array = np.full(count, RUBBISH, np.uint8)
        self.gpu.pinned.append(array)
        address = self.gpu.number() if mapped else 0
        if mapped:
            self.gpu.memory[address] = array
        return Pinned(array, address)

    def free_pinned(self, pinned: Pinned) -> None:
        self._called("free_pinned")
        assert not any(self.gpu.streams.values()), "freed while work that may use it waits"
        self.gpu.memory.pop(pinned.address, None)
        self.gpu.pinned = [one for one in self.gpu.pinned if one is not pinned.array]

    def open_stream(self) -> int:
        self._called("open_stream")
        stream = self.gpu.number()
        self.gpu.streams[stream] = []
        return stream

    def close_stream(self, stream: int) -> None:
        self._called("close_stream")
        assert not self.gpu.streams.pop(stream), "a stream with work left in it"

    def upload(self, address: int, array: AnyArray, stream: int) -> None:
        self._called("upload")
        assert self._is_pinned(array), "an asynchronous copy from memory that the system may move"
        self.gpu.enqueue(stream, lambda: np.copyto(self.gpu.at(address, array.nbytes), array))

    def download(self, array: AnyArray, address: int, stream: int) -> None:
        self._called("download")
        assert self._is_pinned(array), "an asynchronous copy to memory that the system may move"
        self.gpu.enqueue(stream, lambda: np.copyto(array, self.gpu.at(address, array.nbytes)))

    def _is_pinned(self, array: AnyArray) -> bool:
        return array.dtype == np.uint8 and any(np.shares_memory(array, one) for one in self.gpu.pinned)

    def copy(self, to: int, source: int, count: int, stream: int) -> None:
        self._called("copy")
        self.gpu.enqueue(stream, lambda: np.copyto(self.gpu.at(to, count), self.gpu.at(source, count)))

    def synchronise(self, stream: int) -> None:
        self._called("synchronise")
        assert stream not in self.gpu.capturing, "waited for a stream that is being recorded"
        waiting = self.gpu.streams[stream]
        while waiting:
            waiting.pop(0)()

    def begin_capture(self, stream: int) -> None:
        self._called("begin_capture")
        assert stream not in self.gpu.capturing
        self.gpu.capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        self._called("end_capture")
        graph = self.gpu.number()
        self.gpu.graphs[graph] = self.gpu.capturing.pop(stream)
        return graph

    def launch(self, graph: int, stream: int) -> None:
        self._called("launch")
        for work in self.gpu.graphs[graph]:
            self.gpu.enqueue(stream, work)

    def free_graph(self, graph: int) -> None:
        self._called("free_graph")
        del self.gpu.graphs[graph]

    def close(self) -> None:
        if self._open:
            self._open = False
            self.gpu.retained -= 1
