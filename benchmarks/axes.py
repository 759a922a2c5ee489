"""Axes of a plot, for pictures and for characters alike: where a value stands, and which values are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.types import AnyArray

_KNEE = 0.55
"""Share of a bent axis below its limit."""
_BELOW, _ABOVE = 0.3, 0.12
"""Room beyond the lowest and the highest value, for the marks and their names."""
_LEAST = 1e-4
"""The smallest drop that an axis is made for: what is below is rounding."""
_FAR = 4.0
"""An axis that reaches this many times its limit is bent: else what lies within the limit would be one line."""


@dataclass(frozen=True)
class Axis:
    """Places from 0 to 1 for values from `low` to `high`; above `knee` the axis is logarithmic, if it has one."""

    low: float
    high: float
    knee: float | None = None

    def place(self, values: AnyArray) -> AnyArray:
        """Return the place of each value, float64 of the same shape; values beyond the ends are continued."""
        given = np.asarray(values, np.float64)
        if self.knee is None:
            return (given - self.low) / (self.high - self.low)
        below = _KNEE * (given - self.low) / (self.knee - self.low)
        decades = np.log(np.maximum(given, self.knee) / self.knee) / math.log(self.high / self.knee)
        return np.where(given <= self.knee, below, _KNEE + (1 - _KNEE) * decades)

    def value(self, places: AnyArray) -> AnyArray:
        """Return the value at each place: the inverse of `place`."""
        given = np.asarray(places, np.float64)
        if self.knee is None:
            return self.low + given * (self.high - self.low)
        below = self.low + given / _KNEE * (self.knee - self.low)
        power = np.maximum(given - _KNEE, 0) / (1 - _KNEE)
        return np.where(given <= _KNEE, below, self.knee * (self.high / self.knee) ** power)

    def ticks(self, count: int) -> tuple[float, ...]:
        """Return about `count` round values, the knee among them; above it at most three, each a power of ten."""
        if self.knee is None:
            return _round_values(self.low, self.high, count)
        most = math.floor(math.log10(self.high))
        powers = [10.0**power for power in range(most - 2, most + 1) if 10.0**power > 1.5 * self.knee]
        return (*_round_values(self.low, 0.9 * self.knee, max(count - len(powers) - 1, 1)), self.knee, *powers)


def loss_axis(values: Sequence[float], limit: float | None) -> Axis:
    """Make an axis for drops in DSC, with room for the limit; bent at it where values lie far beyond."""
    low, high = min(0.0, *values), max(*values, limit or 0.0, _LEAST)
    if limit and limit >= _LEAST and high > _FAR * limit:
        return Axis(low - _BELOW * (limit - low), 1.3 * high, limit)
    return Axis(low - _BELOW * (high - low), high + _ABOVE * (high - low))


def time_axis(values: Sequence[float]) -> Axis:
    """Make an axis for milliseconds: from 0, so that half the way is half the time."""
    return Axis(0.0, 1.12 * max(values))


def _round_values(low: float, high: float, count: int) -> tuple[float, ...]:
    wanted = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(place * step, 12) for place in range(first, last + 1))
