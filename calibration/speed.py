"""Whether a candidate pays: encoders timed by turns in one process, so that a slow moment is everybody's.

No more than two are open at once: several encoders of a large model would not fit into the memory that is promised.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import TypeAlias

from ..runtime.predictor import Predictor
from ..runtime.types import AnyArray
from .ratio import ratio

Opener: TypeAlias = Callable[[ExitStack], Predictor]


@dataclass(frozen=True)
class Speed:
    """How one encoder compares with another.

    Attributes:
        median_ms: Its own median.
        against: Name of the other.
        against_ms: The other's median, of the same run.
        times: The other's median over its own: above 1 it is faster.
        low, high: The 95 % interval of that, or None of fewer than 5 rounds.
        rounds: How many.
    """

    median_ms: float
    against: str
    against_ms: float
    times: float
    low: float | None
    high: float | None
    rounds: int

    def __str__(self) -> str:
        sure = "" if self.low is None or self.high is None else f" (95 % interval {self.low:.2f} to {self.high:.2f})"
        return f"{self.times:.2f} times as fast as {self.against}{sure}"

    def pays(self, margin: float) -> bool:
        """Whether it is faster by the margin, and surely faster at all."""
        return self.times >= margin and (self.low is None or self.low > 1)


def interleaved(
    openers: Mapping[str, Opener],
    inputs: Mapping[str, AnyArray],
    rounds: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, list[float]]:
    """Time the encoders of some predictors by turns, after one untimed run each.

    Each round begins with another one, A B B A A B …: whoever comes first, and after whom, is nobody's lot.

    Args:
        openers: By name, what opens a predictor on a stack that closes it.
        inputs: Encoder inputs.
        rounds: How many.
        progress: Told the rounds done and how many there are.

    Returns:
        By name, milliseconds round by round.
    """
    with ExitStack() as stack:
        predictors = {name: opener(stack) for name, opener in openers.items()}
        for predictor in predictors.values():
            predictor.encode(inputs).numpy()
        names, taken = list(predictors), {name: list[float]() for name in predictors}
        for number in range(rounds):
            progress(number, rounds)
            first = number % len(names)
            for name in names[first:] + names[:first]:
                start = perf_counter()
                predictors[name].encode(inputs).numpy()
                taken[name].append(1e3 * (perf_counter() - start))
        return taken


def compared(taken: Mapping[str, Sequence[float]], name: str, against: str) -> Speed:
    """Hold the samples of one against those of another."""
    own, other = taken[name], taken[against]
    times, low, high = ratio(own, other)
    return Speed(median(own), against, median(other), times, low, high, len(own))


def upwards(
    openers: Mapping[str, Opener],
    inputs: Mapping[str, AnyArray],
    rounds: int,
    margin: float,
    progress: Callable[[str, int, int], None],
) -> dict[str, Speed]:
    """Time each encoder against the fastest wider one that is kept, two at a time.

    Args:
        openers: As `interleaved`, the widest first; it is what the others have to beat.
        inputs, rounds: As `interleaved`.
        margin: What pays, and is what the next one has to beat.
        progress: Told which one is timed, the rounds done and how many there are.

    Returns:
        Of each but the widest.
    """
    found: dict[str, Speed] = {}
    fastest, *others = openers
    for name in others:
        pair = {one: openers[one] for one in (fastest, name)}
        found[name] = compared(interleaved(pair, inputs, rounds, partial(progress, f"timing {name}")), name, fastest)
        fastest = name if found[name].pays(margin) else fastest
    return found
