"""One-sided 95 % bounds by the percentile bootstrap over patients (Efron and Tibshirani 1993, chapter 13).

The masks of one person fail together, so patients are drawn and not masks. Knows nothing of graphs or limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
BOUND = 95.0
LEAST_PATIENTS = 8
"""Of fewer a resample repeats so few people that its spread says little: the bound falls far short of 95 %."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resamples:
    """Patients drawn with replacement; every figure is bounded on the same draws.

    Attributes:
        owner: The place of each mask's patient, `(masks,)`.
        drawn: How often each patient is in each resample, `(RESAMPLES, patients)`.
    """

    owner: npt.NDArray[np.int64]
    drawn: npt.NDArray[np.int64]

    @classmethod
    def of(cls, patients: Sequence[str], seed: int) -> "Resamples":
        """Draw them; `patients` names each mask's."""
        places = {name: place for place, name in enumerate(dict.fromkeys(patients))}
        count = len(places)
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
        return cls(np.array([places[name] for name in patients]), drawn)

    def highest_mean(self, values: Values) -> float:
        """Bound a mean over masks `(masks,)` from above; never below the mean that was seen."""
        totals, masks = np.bincount(self.owner, values), np.bincount(self.owner)
        means = (self.drawn @ totals) / (self.drawn @ masks)
        return max(float(np.percentile(means, BOUND)), float(values.mean()))

    def lowest_percentile(self, values: Values, percent: float) -> float:
        """Bound a percentile over masks `(masks,)` from below; never above the one that was seen."""
        order = np.argsort(values)
        ordered, owner = values[order], self.owner[order]
        found = [np.percentile(np.repeat(ordered, times[owner]), percent) for times in self.drawn]
        return min(float(np.percentile(found, 100 - BOUND)), float(np.percentile(values, percent)))


def unseen_share(patients: int) -> float:
    """Return the largest share of patients of a kind that none of so many was, with 95 % confidence."""
    return float(1 - (1 - BOUND / 100) ** (1 / patients))
