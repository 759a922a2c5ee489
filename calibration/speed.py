"""Whether a candidate pays: encoders timed by turns in one process, so that a slow moment is everybody's."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from ..runtime.predictor import Predictor
from ..runtime.types import AnyArray
from .ratio import ratio


@dataclass(frozen=True)
class Speed:
    """How one encoder compares with another.

    Attributes:
        median_ms: Its own median.
        against: Name of the other.
        times: The other's median over its own: above 1 it is faster.
        low, high: The 95 % interval of that, or None of fewer than 5 rounds.
        rounds: How many.
    """

    median_ms: float
    against: str
    times: float
    low: float | None
    high: float | None
    rounds: int

    def pays(self, margin: float) -> bool:
        """Whether it is faster by the margin, and surely faster at all."""
        return self.times >= margin and (self.low is None or self.low > 1)


def interleaved(
    openers: Mapping[str, Callable[[ExitStack], Predictor]],
    inputs: Mapping[str, AnyArray],
    rounds: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, list[float]]:
    """Time the encoders of some predictors, A B C A B C …, after one untimed run each.

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
        taken: dict[str, list[float]] = {name: [] for name in predictors}
        for number in range(rounds):
            progress(number, rounds)
            for name, predictor in predictors.items():
                start = perf_counter()
                predictor.encode(inputs).numpy()
                taken[name].append(1e3 * (perf_counter() - start))
        return taken


def compared(taken: Mapping[str, Sequence[float]], name: str, against: str) -> Speed:
    """Hold the samples of one against those of another."""
    own, other = taken[name], taken[against]
    times, low, high = ratio(own, other)
    return Speed(median(own), against, times, low, high, len(own))
