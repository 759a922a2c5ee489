"""The interleaved run: every candidate is opened once, then all take turns on the same images, A B C A B C ….

A machine that slows down for a while slows all of them down, and their ratios survive. Warm-up is timed and kept
apart. It knows candidates as whoever answers requests, and draws no conclusion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from ..runtime.predictor import ServedBy, Timings
from ..runtime.types import Progress
from .candidates import Candidate
from .child import Asked
from .worker.messages import Done, Measured, Opening, Request

AUTO_SECONDS, LEAST_ROUNDS, MOST_ROUNDS = 300.0, 5, 100
LONG_RUN, MORE_WARMUP = 20, 4


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: Timed rounds, or None for as many as fit in about five minutes, from 5 to 100.
        boxes: Boxes to decode in one go, after the single one, in each round; 0 for none.
        machine: Whether to time a matrix product in each round.
    """

    rounds: int | None = None
    boxes: int = 32
    machine: bool = True


@dataclass
class Turns:
    """What one candidate answered so far; warm-up samples come first in each list."""

    candidate: Candidate
    child: Asked
    served_by: ServedBy
    ready_ms: float
    one: list[Timings] = field(default_factory=list)
    many: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    peak_many_mib: float | None = None
    quiet: bool = True

    @property
    def first_mask_ms(self) -> float:
        """From the start of the process to the first mask."""
        return self.ready_ms + self.one[0].total_ms

    def take(self, sample: int, boxes: int) -> None:
        """Segment one box, then decode many on the same image."""
        self.one.append(self._asked(Request("one box", sample)).timings)
        if boxes:
            self.many.append(self._asked(Request("many boxes", sample, boxes)).timings.decode_ms / boxes)

    def _asked(self, request: Request) -> Measured:
        got = self.child.ask(request, Measured)
        self.quiet = self.quiet and got.quiet
        if request.count:
            self.peak_many_mib = got.peak_mib
        elif self.peak_many_mib is None:  # the peak never falls: later ones are those of many boxes
            self.peak_mib = got.peak_mib
        return got


@dataclass
class Machine:
    """The worker that multiplies matrices, and the milliseconds it took so far."""

    child: Asked
    library: str
    samples_ms: list[float] = field(default_factory=list)

    def take(self) -> None:
        """Multiply once."""
        self.samples_ms.append(self.child.ask(Request("gemm"), Measured).timings.encode_ms)


@dataclass(frozen=True)
class Schedule:
    """How many rounds were timed, after how many warm-up ones."""

    rounds: int
    warmup: int


def opened(candidate: Candidate, start: Callable[[], Asked], samples: str) -> Turns:
    """Start a candidate, open it, and let it draw its first mask.

    Args:
        candidate: Who it is.
        start: Starts its process; the clock runs from here.
        samples: The file with the images.
    """
    begin = perf_counter()
    child = start()
    served_by = child.ask(candidate.opening, ServedBy)
    turns = Turns(candidate, child, served_by, (perf_counter() - begin) * 1e3)
    child.ask(Request("samples", path=samples), Done)
    turns.take(0, boxes=0)
    return turns


def opened_machine(start: Callable[[], Asked], library: str) -> Machine:
    """Start the worker that multiplies."""
    child = start()
    child.ask(Opening("gemm", library=library), Done)
    return Machine(child, library)


def take_turns(
    everyone: Sequence[Turns],
    machine: Machine | None,
    samples: Sequence[int],
    plan: Plan,
    spent_s: float,
    progress: Progress,
) -> Schedule:
    """Run all rounds.

    Args:
        everyone: The candidates, opened.
        machine: Multiplies at the end of each round.
        samples: Numbers of the images to go through, again and again.
        plan: How much.
        spent_s: Seconds that starting took; they count towards the five minutes.
        progress: Told what goes on, the rounds done and how many there are.

    Returns:
        The rounds; warm-up is one whole round and, in long runs, some more.
    """

    def a_round(number: int) -> None:
        for turns in everyone:
            turns.take(samples[number % len(samples)], plan.boxes)
        if machine is not None:
            machine.take()

    progress("warm-up", 0, 1)
    begin = perf_counter()
    a_round(0)
    seconds = perf_counter() - begin
    rounds = plan.rounds or affordable(seconds, spent_s + seconds)
    warmup = 1 + (MORE_WARMUP if rounds >= LONG_RUN else 0)
    for number in range(1, warmup + rounds):
        progress("warm-up" if number < warmup else "measuring", number, warmup + rounds)
        a_round(number)
    return Schedule(rounds, warmup)


def affordable(round_s: float, spent_s: float) -> int:
    """Return how many rounds of that length still fit, between the bounds."""
    return max(LEAST_ROUNDS, min(MOST_ROUNDS, int((AUTO_SECONDS - spent_s) / round_s)))
