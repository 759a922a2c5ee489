"""An engine made ready for one number of boxes: its context, bound once, and the CUDA graph of a run.

Addresses and shapes never change after that, which is what a captured graph needs. All lanes of an engine share one
scratch memory and one stream, so they run one after another. Every call that can fail is looked at.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engines.listeners import Messages
from ..engines.sentences import explained
from .device_memory import DeviceMemory
from .tensorrt_ports import Port


class Loaded(NamedTuple):
    """An engine and what its lanes share."""

    trt: Any
    engine: Any
    memory: DeviceMemory
    stream: int
    scratch: tuple[int, int]  # address and bytes
    ports: Mapping[str, Port]
    messages: Messages


class Lane:
    """One optimisation profile of an engine.

    Attributes:
        size: The number of boxes it is for; 1 where there are none.
        captured: Whether runs are launched as a graph; False where the driver or the engine refuses.
    """

    def __init__(self, loaded: Loaded, profile: int, size: int, capture: bool = True) -> None:
        self.size, self.stream, self._loaded = size, loaded.stream, loaded
        strategy = loaded.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = _there(loaded, loaded.engine.create_execution_context(strategy), "to make a context")
        self._bind(profile)
        self._graph: int | None = None
        self.captured = capture and self._capture()

    def run(self) -> None:
        """Put one run into the stream."""
        if self._graph is None:
            self._enqueue()
        else:
            self._loaded.memory.launch(self._graph, self._loaded.stream)

    def close(self) -> None:
        """Drop the graph, then the context that it came from."""
        if self._graph is not None:
            self._loaded.memory.free_graph(self._graph)
            self._graph = None
        self._context = None

    def profiled(self, profiler: object) -> None:
        """Put one run with a profiler into the stream, layer by layer, outside of a graph."""
        self._context.profiler = profiler
        self._enqueue()

    def _bind(self, profile: int) -> None:
        loaded, context = self._loaded, self._context
        context.set_device_memory(*loaded.scratch)
        _there(loaded, context.set_optimization_profile_async(profile, loaded.stream), "to take a profile")
        for port in loaded.ports.values():
            if self._is_input(port):
                shape = port.shape(self.size)
                _there(loaded, context.set_input_shape(port.spec.name, shape), f"to take {port.spec.name} as {shape}")
            _there(loaded, context.set_tensor_address(port.spec.name, port.address), f"to bind {port.spec.name}")
        if missing := context.infer_shapes():
            raise explained([*loaded.messages.errors(), f"no shape for {', '.join(missing)}"], "to know its shapes")

    def _is_input(self, port: Port) -> bool:
        engine = self._loaded.engine
        return bool(engine.get_tensor_mode(port.spec.name) == self._loaded.trt.TensorIOMode.INPUT)

    def _capture(self) -> bool:
        """Run once, as the library wants it before a capture, then record the same work."""
        memory, stream = self._loaded.memory, self._loaded.stream
        self._enqueue()
        try:
            memory.begin_capture(stream)
        except Exception:  # a driver without graphs: work goes into the stream each time
            return False
        try:
            self._enqueue()
        except BaseException:
            _abandon(memory, stream)
            raise
        self._graph = memory.end_capture(stream)
        return True

    def _enqueue(self) -> None:
        _there(self._loaded, self._context.execute_async_v3(self._loaded.stream), "to run")


def _abandon(memory: DeviceMemory, stream: int) -> None:
    try:
        memory.free_graph(memory.end_capture(stream))
    except Exception:  # the capture is over either way, and the error that ended it is the one to tell
        return


def _there(loaded: Loaded, answer: Any, doing: str) -> Any:  # noqa: ANN401 - native objects
    """Return what the library answered, unless that is None or False."""
    if answer is None or answer is False:
        raise explained(loaded.messages.errors(), doing)
    return answer
