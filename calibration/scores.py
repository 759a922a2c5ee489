"""What a cheaper graph does to masks: each against the float32 graph's, and both against the reference.

Limits are held against what is sure, not against what was seen: the mean drop has a one-sided 95 % bound, by a
bootstrap over patients, because the masks of one person fail together. Knows nothing of graphs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.errors import UsageError

RESAMPLES = 2000
BOUND = 95.0
LOW = 0.9
"""Below this agreement with the float32 mask, a mask counts as another one."""


@dataclass(frozen=True)
class MaskScore:
    """One mask of a candidate.

    Attributes:
        case: The case's id.
        patient: Whose it is; the case's id where nobody said.
        modality: Its modality.
        parity: DSC with the float32 graph's mask of the same box, 0 to 1.
        drop: DSC with the reference mask that was lost: the float32 mask's minus the candidate's; below 0 is a gain.
    """

    case: str
    patient: str
    modality: str
    parity: float
    drop: float


@dataclass(frozen=True)
class Limits:
    """What a candidate may lose.

    Attributes:
        mean_drop: The bound of the mean drop in DSC, over all masks.
        worst_drop: The mean drop of the worst modality.
    """

    mean_drop: float = 0.005
    worst_drop: float = 0.02

    def __post_init__(self) -> None:
        for name, value in (("--max-dsc-drop", self.mean_drop), ("--worst-dsc-drop", self.worst_drop)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} between 0 and 1", f"{value}", "0.005 and 0.02 are the defaults")


@dataclass(frozen=True)
class Group:
    """Masks of one modality."""

    modality: str
    masks: int
    mean_drop: float
    mean_parity: float
    low: int


@dataclass(frozen=True)
class Drop:
    """All masks of a candidate, summed up.

    Attributes:
        cases, masks: How many.
        mean_drop: Mean over masks.
        drop_bound: Upper end of its one-sided 95 % interval.
        mean_parity: Mean DSC with the float32 masks.
        p5_parity: Its 5th percentile.
        lowest_parity: Its lowest, of the case `lowest`.
        low: Masks below `LOW`.
        modalities: Each modality, the worst drop first.
    """

    cases: int
    masks: int
    mean_drop: float
    drop_bound: float
    mean_parity: float
    p5_parity: float
    lowest_parity: float
    lowest: str
    low: int
    modalities: tuple[Group, ...]

    def objections(self, limits: Limits) -> tuple[str, ...]:
        """Say which limits are not kept; empty where all are."""
        worst = self.modalities[0]
        said = {
            f"the mean DSC drop may be {self.drop_bound:.4f} (limit {limits.mean_drop})": self.drop_bound
            > limits.mean_drop,
            f"{worst.modality} loses {worst.mean_drop:.4f} (limit {limits.worst_drop})": worst.mean_drop
            > limits.worst_drop,
        }
        return tuple(text for text, holds in said.items() if holds)


NOTHING_LEFT = Drop(0, 0, 1.0, 1.0, 0.0, 0.0, 0.0, "", 0, (Group("all", 0, 1.0, 0.0, 0),))
"""A candidate that answers with NaN."""


def summed(scores: Sequence[MaskScore], seed: int = 0) -> Drop:
    """Sum up at least one score."""
    parity, drop = np.array([one.parity for one in scores]), np.array([one.drop for one in scores])
    lowest = scores[int(parity.argmin())]
    names = sorted({one.modality for one in scores})
    groups = [_group(name, [one for one in scores if one.modality == name]) for name in names]
    return Drop(
        cases=len({one.case for one in scores}),
        masks=len(scores),
        mean_drop=float(drop.mean()),
        drop_bound=_bound(scores, seed),
        mean_parity=float(parity.mean()),
        p5_parity=float(np.percentile(parity, 5)),
        lowest_parity=lowest.parity,
        lowest=lowest.case,
        low=_low(scores),
        modalities=tuple(sorted(groups, key=lambda group: -group.mean_drop)),
    )


def _group(modality: str, scores: Sequence[MaskScore]) -> Group:
    drop, parity = (float(np.mean(values)) for values in zip(*((one.drop, one.parity) for one in scores), strict=True))
    return Group(modality, len(scores), drop, parity, _low(scores))


def _low(scores: Iterable[MaskScore]) -> int:
    return sum(one.parity < LOW for one in scores)


def _bound(scores: Sequence[MaskScore], seed: int) -> float:
    """Bound the mean drop by the percentile bootstrap (Efron and Tibshirani 1993, chapter 13) over patients."""
    people = list(dict.fromkeys(one.patient for one in scores))
    places = {name: place for place, name in enumerate(people)}
    totals, counts = np.zeros(len(people)), np.zeros(len(people))
    for one in scores:
        totals[places[one.patient]] += one.drop
        counts[places[one.patient]] += 1
    drawn = np.random.default_rng(seed).integers(0, len(people), (RESAMPLES, len(people)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return max(float(np.percentile(means, BOUND)), float(totals.sum() / counts.sum()))
