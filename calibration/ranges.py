"""From what is known of a tensor to its symmetric INT8 range: values beyond the limit are clipped to it.

A method takes Statistics and returns a limit, never above the largest magnitude seen; `scale_of` turns it into the step
between two INT8 values. Which method suits a tensor is for the masks to decide, not for this module.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from ..runtime.errors import UsageError
from ..runtime.types import AnyArray
from .tensor_statistics import Statistics

Method: TypeAlias = Callable[[Statistics], float]

LARGEST = 127
"""The largest INT8 value in use: -128 is left out, so that a range is symmetric."""
UNSIGNED_LARGEST = 255
"""The largest value of uint8, for tensors that are never negative."""
LEVELS = 128
"""INT8 values from 0 to the largest, and the fewest bins below a limit: with fewer nothing of the rounding is seen."""
LEAST_SCALE = 2.0**-32
"""The scale of a tensor of zeros, or of next to nothing. A power of two far from float32's own end, so that it, its
inverse and its product with a weight's scale are ordinary numbers."""
_CANDIDATES = 256


def scale_of(limit: float) -> float:
    """Return `limit / 127` as float32 holds it, and at least LEAST_SCALE.

    Raises:
        UsageError: The limit is negative or not finite.
    """
    if not (math.isfinite(limit) and limit >= 0):
        raise UsageError("a finite limit of 0 or more", f"{limit}", "take it from a method of this module")
    return max(float(np.float32(limit / LARGEST)), LEAST_SCALE)


def unsigned_scale_of(limit: float) -> float:
    """Return `limit / 255` likewise: the step of uint8 from 0 to the limit."""
    return scale_of(limit * LARGEST / UNSIGNED_LARGEST)


def min_max(statistics: Statistics) -> float:
    """Clip nothing."""
    return statistics.peak


def percentile(percent: float) -> Method:
    """Make the method that clips all but `percent` percent of the values; zeros count as values.

    The limit is the upper end of the bin in which that share is reached.

    Raises:
        UsageError: `percent` is not above 0, or above 100.
    """
    if not 0 < percent <= 100:
        raise UsageError("a percentile above 0 and at most 100", f"{percent}", "choose one like 99.99")
    share = Fraction(str(percent)) / 100  # as it is written: 99.9 / 100 * 1000 as floats is more than 999

    def limit(statistics: Statistics) -> float:
        rank = math.ceil(share * statistics.count)
        reached = int(np.searchsorted(np.cumsum(statistics.histogram), rank))
        return min((reached + 1) * statistics.width, statistics.peak)

    return limit


def entropy(statistics: Statistics) -> float:
    """Lose the least information: the limit whose 128 levels diverge least from the values as they are.

    The method of S. Migacz, "8-bit Inference with TensorRT", GTC 2017. A candidate keeps the first i bins. P is their
    counts with all that lies beyond added to the last one. Q is their counts without it, summed up in 128 levels and
    spread evenly over those bins of each level that are not empty in P. The limit is the upper end of the candidate
    with the smallest divergence of Kullback and Leibler from P to Q; where it is infinite, Q misses something of P.
    At the least 128 bins are kept, so at most 1/16 to 1/32 of the largest magnitude is clipped to.
    """
    counts = _used(statistics)
    if len(counts) < LEVELS:  # a tensor of next to nothing
        return statistics.peak
    candidates = np.arange(LEVELS, len(counts) + 1)
    best = candidates[np.argmin(divergences(counts, candidates))]
    return min(float(best) * statistics.width, statistics.peak)


def divergences(counts: AnyArray, candidates: AnyArray) -> AnyArray:
    """Return the divergence of each candidate of `entropy`, in nats.

    Args:
        counts: `(B,)`, of which the last is not 0.
        candidates: int `(K,)`, from 128 to B: how many bins are kept.

    Returns:
        float64 `(K,)`, infinite where Q is 0 and P is not.
    """
    total, last = float(counts.sum()), counts[candidates - 1].astype(float)
    kept, filled, logs = _sums(counts), _sums(counts > 0), _sums(_x_log_x(counts.astype(float)))
    edges = (np.arange(LEVELS + 1) * candidates[:, None] + LEVELS - 1) // LEVELS
    level, places = np.diff(kept[edges]), np.diff(filled[edges])
    beyond = total - kept[candidates]
    places[:, -1] += (last == 0) & (beyond > 0)
    p_log_p = logs[candidates] - _x_log_x(last) + _x_log_x(last + beyond)
    p_of_level = level.copy()
    p_of_level[:, -1] += beyond
    with np.errstate(divide="ignore", invalid="ignore"):  # a level without values
        p_log_q = np.where(p_of_level > 0, p_of_level * np.log(level / places), 0.0).sum(axis=1)
        found: AnyArray = (p_log_p - p_log_q) / total + np.log(kept[candidates] / total)
    return np.where(np.isnan(found), np.inf, found)


def _sums(values: AnyArray) -> AnyArray:
    """What stands before each place, and at the end the sum of all."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=float)])


def _x_log_x(values: AnyArray) -> AnyArray:
    return values * np.log(np.where(values > 0, values, 1.0))


def mse(statistics: Statistics) -> float:
    """Lose the least energy: the limit with the smallest mean square of rounding and clipping, bin by bin."""
    counts = _used(statistics)
    if len(counts) < LEVELS:
        return statistics.peak
    values = np.arange(len(counts)) + 0.5
    candidates = np.unique(np.linspace(LEVELS, len(counts), _CANDIDATES).astype(int))
    best = min(candidates, key=lambda limit: _error(values, counts, limit / LARGEST))
    return min(float(best) * statistics.width, statistics.peak)


def _error(values: AnyArray, counts: AnyArray, step: float) -> float:
    rounded = step * np.minimum(np.rint(values / step), LARGEST)
    return float(counts @ (values - rounded) ** 2)


def _used(statistics: Statistics) -> AnyArray:
    """The bins up to the one with the largest magnitude."""
    return statistics.histogram[: int(np.flatnonzero(statistics.histogram)[-1]) + 1]


METHODS: dict[str, Method] = {
    "min-max": min_max,
    "percentile-99.9": percentile(99.9),
    "percentile-99.99": percentile(99.99),
    "percentile-99.999": percentile(99.999),
    "entropy": entropy,
    "mse": mse,
}
"""The methods under the names that people choose them by."""
