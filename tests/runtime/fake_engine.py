"""A TensorRT for the fake GPU. Its rules are those that the real bindings state of their methods (10.3 to 11.4).

What returns False there returns False here: a run without shapes, addresses, profile or memory, a shape outside of the
profile. A context that is gone while its work still waits is an error.
"""

import weakref
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_gpu import RUBBISH, FakeGpu
from medsam_edge.runtime.backends.base import BackendChoice, GraphSource, HostTensor
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.manifest import PartSpec
from medsam_edge.runtime.types import AnyArray

Loose = Any  # a module beside the tests, or what it makes


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
