"""How many times as fast one thing is as another, with an interval that says how sure that is.

Samples are paired: both were taken in the same round, on the same image, seconds apart. So rounds are resampled, and
not the two sides by themselves: a round in which the whole machine was slow counts for both.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEAST_ROUNDS = 5  # of fewer, an interval would say more than is known


def ratio(own_ms: Sequence[float], other_ms: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the other's median over one's own, and the bounds of its 95 % interval.

    The interval is the percentile bootstrap (Efron and Tibshirani 1993, chapter 13) over rounds, seeded.

    Args:
        own_ms: Samples, one a round.
        other_ms: As many, of the same rounds.
    """
    own, other = np.asarray(own_ms), np.asarray(other_ms)
    middle = float(np.median(other) / np.median(own))
    if len(own) < LEAST_ROUNDS:
        return middle, None, None
    rounds = np.random.default_rng(0).integers(0, len(own), (RESAMPLES, len(own)))
    drawn = np.median(other[rounds], axis=1) / np.median(own[rounds], axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return middle, float(low), float(high)
