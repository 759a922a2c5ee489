"""What TensorRT calls while it works: our logger, progress monitor and profiler.

Their base classes come with the library, so each is made by a function. The library keeps no reference to them: whoever
makes one holds it until the native object that it was given to is gone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = Callable[[str, int, int], None]
"""Told of a phase: its name, the steps done, and how many there are."""
_KEPT = ("INTERNAL_ERROR", "ERROR", "WARNING")
_MOST = 200


@dataclass(frozen=True)
class Message:
    """A line of the library's own, with its severity."""

    severity: str
    text: str


class Messages:
    """The lines worth keeping: errors, warnings, and what the builder says about memory."""

    def __init__(self) -> None:
        self.lines: list[Message] = []
        self.activation_bytes: list[int] = []
        self.weight_bytes = 0

    def add(self, severity: str, text: str) -> None:
        """Take a line in."""
        if found := re.search(r"Total Activation Memory: (\d+)", text):
            self.activation_bytes.append(int(found[1]))
        if found := re.search(r"Total Weights Memory: (\d+)", text):
            self.weight_bytes = int(found[1])
        if severity in _KEPT and len(self.lines) < _MOST:
            self.lines.append(Message(severity, text.strip()))

    def errors(self) -> list[str]:
        """Return the errors, the first one first: those after it are often its consequences."""
        return [line.text for line in self.lines if line.severity != "WARNING"]


def logger_of(trt: Any, messages: Messages) -> Any:  # noqa: ANN401 - native classes
    """Make a logger that collects."""

    class Collector(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401
            messages.add(severity.name, msg)

    return Collector()


def monitor_of(trt: Any, step: Step) -> Any:  # noqa: ANN401 - native classes
    """Make a progress monitor that passes on the phases with something to count."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            step(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step_: int) -> bool:
            step(phase_name, step_ + 1, self._steps.get(phase_name, step_ + 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def profiler_of(trt: Any, times: list[tuple[str, float]]) -> Any:  # noqa: ANN401 - native classes
    """Make a profiler that notes each layer's name and its milliseconds, in the order in which they ran."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.append((layer_name, ms))

    return Profiler()
