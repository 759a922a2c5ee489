"""TensorRT on an NVIDIA GPU, numpy and PyCUDA (or cuda-python) only. Its engines are made by `medsam-edge build`.

Inputs go through pinned memory, outputs come back the same way, and what the next engine wants stays on the GPU. A run
is one CUDA graph. Native objects never leave this file and its two neighbours, and go in the order in which they depend
on each other.
"""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..engines.engine_file import EngineFacts
from ..engines.gpu import gpu
from ..engines.identity import FLAVOURS, default_state, find_engine, read_engine
from ..engines.library import library
from ..engines.listeners import Messages, logger_of, profiler_of
from ..engines.sentences import cuda_failure, explained
from ..errors import BackendError, DeviceLostError, EngineError, MedSAMEdgeError, UsageError
from ..state import StateFolder
from .base import BackendChoice, Described, GraphSource, HostTensor, Tensor, check_given, check_tensors
from .device_memory import DeviceMemory, open_memory
from .tensorrt_lane import Lane, Loaded
from .tensorrt_ports import DeviceTensor, Pool, Port


def status_of(name: str) -> tuple[str, tuple[str, ...], None]:
    """Return version and devices of `tensorrt` or `tensorrt-rtx`; the driver is asked in a child process.

    Raises:
        MedSAMEdgeError: What is missing.
        ModuleNotFoundError: The library is.
    """
    version = str(library(FLAVOURS[name]).__version__)
    return version, (f"GPU ({gpu().name})",), None


def open_engine(source: GraphSource, choice: BackendChoice, state: StateFolder | None) -> "TensorRtBackend":
    """Open this device's engine of a graph.

    Args:
        source: The graph that it was built from; the file itself is not read.
        choice: The library and the precision.
        state: The folder that `build` wrote; None: its usual place.

    Raises:
        EngineError: There is no engine for this device, or a damaged one.
        MissingExtraError, MachineError, DriverError: The library, its package for memory or the driver is not there.
        DeviceMemoryError: The GPU has no room for it.
    """
    folder = StateFolder(default_state()) if state is None else state
    trt, entry = library(FLAVOURS[choice.name]), find_engine(folder, source, choice)
    facts, plan = read_engine(folder, entry)
    try:
        memory = open_memory()
    except Exception as error:
        raise cuda_failure(error, "to reach the GPU") from error
    return TensorRtBackend(source, choice, trt, memory, facts, plan)


class TensorRtBackend(Described):
    """A loaded engine; calls from several threads are answered one after another.

    Attributes:
        facts: What was learned when it was built.
        max_boxes: The largest number of boxes of one run.
    """

    def __init__(
        self,
        source: GraphSource,
        choice: BackendChoice,
        trt: Any,  # noqa: ANN401 - a native module
        memory: DeviceMemory,
        facts: EngineFacts,
        plan: Any,  # noqa: ANN401 - a buffer
    ) -> None:
        super().__init__(source.part)
        self.precision, self.facts = choice.precision, facts
        self._trt, self._memory, self._messages = trt, memory, Messages()
        self._lock, self._lost, self._closed = threading.RLock(), False, False
        self._logger = logger_of(trt, self._messages)
        self._runtime: Any = None
        self._engine: Any = None
        self._stream: int | None = None
        self._scratch: tuple[int, int] | None = None
        self._ports: dict[str, Port] = {}
        self._lanes: dict[int, Lane] = {}
        self._pool: Pool | None = None
        try:
            with self._guarded("to load an engine"):
                self._load(source, plan)
        except BaseException:
            self.close()
            raise

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the engine once.

        Raises:
            UsageError: Tensors that the engine does not take, or more boxes than `max_boxes`.
            DeviceMemoryError: The GPU has no room left; the next run may succeed.
            DeviceLostError: The GPU does not answer any more; only a new process reaches it.
            BackendError: Whatever else the library says.
        """
        check_given(self.inputs, tensors)
        rows = self._rows(tensors)
        with self._lock, self._guarded("to run"):
            return self._answer(tensors, rows, keep_on_device)

    def profile(self, tensors: Mapping[str, Tensor]) -> list[tuple[str, float]]:
        """Run once and return each layer's name with its milliseconds, which are larger than within a graph."""
        check_given(self.inputs, tensors)
        rows, times = self._rows(tensors), list[tuple[str, float]]()
        with self._lock, self._guarded("to be profiled"):
            lane = Lane(self._loaded(), *self._profile_for(rows), capture=False)  # its own: a profiler stays with it
            try:
                self._put(tensors, lane.size)
                lane.profiled(profiler_of(self._trt, times))
            finally:  # before the lane goes, and with it its context
                self._memory.synchronise(lane.stream)
        return times

    def close(self) -> None:
        """Free everything in the order of dependence, and give the context back. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed, memory = True, self._memory
            with suppress(Exception) if self._lost else _nothing(), memory.current():
                self._free(memory)
            with suppress(Exception) if self._lost else _nothing():
                memory.close()

    def _load(self, source: GraphSource, plan: Any) -> None:  # noqa: ANN401 - a buffer
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise _foreign(explained(self._messages.errors(), "to load an engine", source.part.name))
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        check_tensors(source, inputs, [name for name in names if name not in inputs])
        self._sizes = self._profile_sizes()
        self.max_boxes = self._sizes[-1]
        self._stream = self._memory.open_stream()
        size = max(1, int(engine.device_memory_size_v2))
        self._scratch = (self._memory.allocate(size), size)
        for spec in (*self.inputs, *self.outputs):
            self._ports[spec.name] = Port(self._memory, spec, self.max_boxes)
        self._pool = Pool(self._memory, self._lock, self._stream)

    def _profile_sizes(self) -> list[int]:
        """The number of boxes of each profile, read off the engine itself."""
        dynamic = next((spec for spec in self.inputs if "N" in spec.shape), None)
        if dynamic is None:
            return [1]
        engine, axis = self._engine, dynamic.shape.index("N")
        profiles = range(engine.num_optimization_profiles)
        return [int(tuple(engine.get_tensor_profile_shape(dynamic.name, index)[2])[axis]) for index in profiles]

    def _rows(self, tensors: Mapping[str, Tensor]) -> int:
        """The number of boxes.

        Raises:
            UsageError: None, or more than the largest profile has.
        """
        rows = next((tensors[spec.name].shape[spec.shape.index("N")] for spec in self.inputs if "N" in spec.shape), 1)
        if not 1 <= rows <= self.max_boxes:
            remedy = f"call it with at most {self.max_boxes} boxes at a time, or build with a larger --max-boxes"
            raise UsageError(f"1 to {self.max_boxes} boxes, as the engine has profiles for", str(rows), remedy)
        return rows

    def _profile_for(self, rows: int) -> tuple[int, int]:
        return next((index, size) for index, size in enumerate(self._sizes) if size >= rows)

    def _loaded(self) -> Loaded:
        assert self._stream is not None
        assert self._scratch is not None
        return Loaded(self._trt, self._engine, self._memory, self._stream, self._scratch, self._ports, self._messages)

    def _lane(self, rows: int) -> Lane:
        index, size = self._profile_for(rows)
        if index not in self._lanes:
            self._lanes[index] = Lane(self._loaded(), index, size)
        return self._lanes[index]

    def _answer(self, tensors: Mapping[str, Tensor], rows: int, keep: Collection[str]) -> dict[str, Tensor]:
        assert self._stream is not None
        try:
            lane = self._lane(rows)
            self._put(tensors, lane.size)
            lane.run()
            kept = {spec.name: self._kept(spec.name, rows) for spec in self.outputs if spec.name in keep}
            fetched = [self._ports[spec.name] for spec in self.outputs if spec.name not in kept]
            for port in fetched:
                port.fetch(lane.size, self._stream)
        finally:  # also where something failed: what waits in the stream needs its context and its pinned memory
            self._memory.synchronise(self._stream)
        host = {port.spec.name: HostTensor(port.taken(lane.size, rows)) for port in fetched}
        return {spec.name: kept.get(spec.name) or host[spec.name] for spec in self.outputs}

    def _put(self, tensors: Mapping[str, Tensor], size: int) -> None:
        assert self._stream is not None
        for spec in self.inputs:
            tensor, port = tensors[spec.name], self._ports[spec.name]
            if isinstance(tensor, DeviceTensor):
                self._memory.copy(port.address, tensor.address, tensor.count, self._stream)
            else:
                port.put(tensor.numpy(), size, self._stream)

    def _kept(self, name: str, rows: int) -> DeviceTensor:
        assert self._pool is not None
        assert self._stream is not None
        port = self._ports[name]
        tensor = DeviceTensor(self._pool, self._pool.take(port.count(rows)), port.shape(rows), port.spec.dtype)
        self._memory.copy(tensor.address, port.address, tensor.count, self._stream)
        return tensor

    def _free(self, memory: DeviceMemory) -> None:
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        if self._pool is not None:
            self._pool.close()
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        if self._scratch is not None:
            memory.free(self._scratch[0])
        if self._stream is not None:
            memory.close_stream(self._stream)
        self._engine = self._runtime = None

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Make the GPU this thread's own, and errors of its packages ours; a sticky one is remembered."""
        if self._lost or self._closed:
            found = "a GPU that this process has lost" if self._lost else "one that was closed"
            raise DeviceLostError("an open backend with its GPU", found, "start the program again")
        self._messages.lines.clear()
        try:
            with self._memory.current():
                yield
        except Exception as error:
            ours = cuda_failure(error, doing)
            self._lost = isinstance(ours, DeviceLostError)
            raise ours from error


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _foreign(error: MedSAMEdgeError) -> MedSAMEdgeError:
    """What the library refuses without a known word is an engine of something else."""
    if type(error) is not BackendError:
        return error
    return EngineError(
        "an engine of this device and this TensorRT", error.found, "build it again: `medsam-edge build BUNDLE`"
    )
