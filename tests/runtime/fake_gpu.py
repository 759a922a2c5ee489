"""A GPU and a TensorRT that are stricter than real ones, so that a forgotten call fails a test and not a patient.

Work put into a stream is done when somebody waits for it and not before; memory starts as rubbish, and touching what is
not allocated, a context that is not current or one that is gone is an error. The engine's rules are those that the
real bindings state of their methods (10.3 to 11.4): what returns False there returns False here.
"""

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from medsam_edge.runtime.backends.base import BackendChoice, GraphSource, HostTensor
from medsam_edge.runtime.backends.device_memory import Pinned
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.manifest import PartSpec
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


class Mode(Enum):
    INPUT = 1
    OUTPUT = 2


class Strategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class FakeEngine:
    """An engine that computes what the shipped fake backend does. A profile has one size, as `build` makes them."""

    device_memory_size_v2 = 4096

    def __init__(self, gpu: FakeGpu, part: PartSpec, sizes: Sequence[int]) -> None:
        self.gpu, self.part, self.sizes = gpu, part, sizes
        self.ports = {spec.name: spec for spec in (*part.inputs, *part.outputs)}
        self.arithmetic = FakeBackend(GraphSource(Path("fake.onnx"), part, ""), BackendChoice("fake"))
        self.fails: list[bool] = []  # of the next executions

    @property
    def num_io_tensors(self) -> int:
        return len(self.ports)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.sizes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.ports)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if self.ports[name] in self.part.inputs else Mode.OUTPUT

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [self.shape(name, self.sizes[profile_index])] * 3

    def shape(self, name: str, size: int) -> tuple[int, ...]:
        return tuple(size if side == "N" else int(side) for side in self.ports[name].shape)

    def create_execution_context(self, strategy: Strategy = Strategy.STATIC) -> "FakeContext":
        return FakeContext(self, strategy)


class FakeContext:
    """Bound before it runs, or it does not run."""

    def __init__(self, engine: FakeEngine, strategy: Strategy) -> None:
        self.engine, self.profiler = engine, None
        self._scratch: tuple[int, int] | None = None if strategy is Strategy.USER_MANAGED else (0, 1 << 40)
        self._profile: int | None = 0 if len(engine.sizes) == 1 else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < len(self.engine.sizes):
            return False
        self.engine.gpu.enqueue(stream_handle, lambda: None)
        self._profile = profile_index
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._profile is None or self.engine.get_tensor_mode(name) is not Mode.INPUT:
            return False
        if shape != self.engine.shape(name, self.engine.sizes[self._profile]):
            return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine.ports:
            return False
        self._addresses[name] = memory
        return True

    def infer_shapes(self) -> list[str]:
        dynamic = [spec.name for spec in self.engine.part.inputs if "N" in spec.shape]
        return [name for name in dynamic if name not in self._shapes]

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self.engine
        unbound = [name for name in engine.ports if name not in self._addresses]
        small = self._scratch is None or self._scratch[1] < engine.device_memory_size_v2
        if (engine.fails and engine.fails.pop(0)) or unbound or small or self.infer_shapes() or self._profile is None:
            return False
        me = weakref.ref(self)
        engine.gpu.enqueue(stream_handle, lambda: _alive(me)._compute())
        return True

    def _compute(self) -> None:
        gpu, engine = self.engine.gpu, self.engine
        assert self._scratch is not None
        if self._scratch[0]:
            gpu.at(*self._scratch)[:] = RUBBISH
        given = {spec.name: HostTensor(np.array(self._view(spec.name))) for spec in engine.part.inputs}
        for name, tensor in engine.arithmetic.run(given).items():
            self._view(name)[:] = tensor.numpy()
        if self.profiler is not None:
            self.profiler.report_layer_time("everything", 1.5)

    def _view(self, name: str) -> AnyArray:
        assert self._profile is not None
        shape, dtype = self.engine.shape(name, self.engine.sizes[self._profile]), self.engine.ports[name].dtype
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.engine.gpu.at(self._addresses[name], count).view(dtype).reshape(shape)


def _alive(reference: "weakref.ref[FakeContext]") -> FakeContext:
    context = reference()
    assert context is not None, "a context that is gone was still needed"
    return context


class Listener:
    """What ILogger and IProfiler are: classes whose constructor has to be called."""


def fake_trt(gpu: FakeGpu, engines: dict[bytes, Callable[[], FakeEngine]]) -> Loose:
    """A module `tensorrt` that knows the plans in `engines`, and refuses all others with a message."""

    class Runtime:
        def __init__(self, logger: Loose) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, serialized_engine: memoryview) -> FakeEngine | None:
            plan = bytes(serialized_engine)
            if plan in engines:
                return engines[plan]()
            severity = SimpleNamespace(name="ERROR")
            self.logger.log(
                severity, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Magic tag mismatch)"
            )
            return None

    return SimpleNamespace(
        __version__="10.3.0",
        ILogger=Listener,
        IProfiler=Listener,
        Runtime=Runtime,
        TensorIOMode=Mode,
        ExecutionContextAllocationStrategy=Strategy,
    )
