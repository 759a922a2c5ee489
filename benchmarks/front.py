"""The front of `quantize`: how long each candidate takes against what its masks lose. Data for pictures, no picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..calibration.outcome import Candidate, Outcome
from ..runtime.errors import one_line


@dataclass(frozen=True)
class Point:
    """A candidate that was timed and judged.

    Attributes:
        letter: Its mark in a plot of characters.
        name: Its precision: "float32", "int8+bf16".
        ms: Median latency of its encoder.
        drop: Mean DSC drop; the float32 masks' is 0 by definition, and below 0 is a gain.
        bound: Upper end of the one-sided 95 % interval of that.
        worst: Mean drop of the worst modality.
        memory_mb: Peak memory, or None: unmeasured.
        fate: "reference", "kept", "passed" (another one is faster) or "refused".
        best: Whether it lies on the front: no other one is as fast with as low a bound.
    """

    letter: str
    name: str
    ms: float
    drop: float
    bound: float
    worst: float
    memory_mb: float | None
    fate: str
    best: bool = False


@dataclass(frozen=True)
class Front:
    """Every candidate of an outcome.

    Attributes:
        target: The backend.
        points: Those that can be drawn; empty where nothing was timed.
        absent: Those that cannot, with the reason.
        limit, worst_limit: What the bound and the worst modality are held against; None for random weights.
    """

    target: str
    points: tuple[Point, ...]
    absent: tuple[tuple[str, str], ...]
    limit: float | None
    worst_limit: float | None

    @property
    def line(self) -> tuple[Point, ...]:
        """The points on the front, the fastest first."""
        return tuple(sorted((one for one in self.points if one.best), key=lambda one: (one.ms, one.bound)))


def front(outcome: Outcome) -> Front:
    """Collect what can be drawn of an outcome."""
    points = tuple(_points(outcome))
    marked = tuple(replace(one, best=not any(_beats(other, one) for other in points)) for one in points)
    drawn = {one.name for one in marked}
    named = [(precision_name(one), one) for one in outcome.candidates]
    absent = tuple((name, _why_absent(one)) for name, one in named if name not in drawn)
    limits = (outcome.limits.mean_drop, outcome.limits.worst_drop) if outcome.gating else (None, None)
    return Front(one_line(outcome.target), marked, absent, *limits)


def _points(outcome: Outcome) -> Iterator[Point]:
    comparable = _comparable_ms(outcome.candidates)
    for place, one in enumerate(outcome.candidates):
        letter, name, memory = chr(ord("A") + place % 26), precision_name(one), _megabytes(one)
        ms = comparable.get(str(one))
        if one.drop is not None and ms is not None:
            worst, drop = one.drop.modalities[0].mean_drop, one.drop
            bound = (drop.bounds or drop).mean_drop
            yield Point(letter, name, ms, drop.mean_drop, bound, worst, memory, _fate(one))
        elif place == 0 and ms is not None:
            yield Point(letter, name, ms, 0.0, 0.0, 0.0, memory, "reference")


def _comparable_ms(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Milliseconds by name, all as of float32's run: each pair was timed at another moment, and ratios survive that."""
    found: dict[str, float] = {}
    for one in candidates:
        if one.speed is not None:
            against = found.get(one.speed.against, one.speed.against_ms)
            found[str(one)] = against / one.speed.times
        elif one.median_ms is not None:
            found[str(one)] = one.median_ms
    return found


def precision_name(one: Candidate) -> str:
    """Name a candidate without what all candidates of a target share: "float32", "int8+bf16, attention"."""
    name = ":".join(one.backend.split(":")[2:]) or "float32"
    return one_line(f"{name}, attention" if one.attention else name)


def _megabytes(one: Candidate) -> float | None:
    return None if one.memory_bytes is None else one.memory_bytes / 1e6


def _fate(one: Candidate) -> str:
    if one.chosen:
        return "kept"
    return "refused" if one.objections else "passed"


def _why_absent(one: Candidate) -> str:
    return one_line("; ".join(one.objections) or "nothing was timed beside it")


def _beats(one: Point, other: Point) -> bool:
    """Compare by the bound, as limits do; a gain is luck, and no reason."""
    mine, theirs = (one.ms, max(one.bound, 0.0)), (other.ms, max(other.bound, 0.0))
    return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]
