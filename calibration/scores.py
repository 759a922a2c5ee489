"""What a cheaper graph does to masks: each against the float32 graph's, and both against the reference.

Limits are held against what is sure, not against what was seen: every figure that has a limit has a one-sided 95 %
bound (`bootstrap`). Knows nothing of graphs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..runtime.errors import UsageError
from .bootstrap import LEAST_PATIENTS, Resamples

LOW = 0.9
"""Below this agreement with the float32 mask, a mask counts as another one."""
TAIL = 5.0
T = TypeVar("T")


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
    """What a candidate may lose; each limit is held against the figure's bound.

    Attributes:
        mean_drop: Mean drop in DSC over all masks.
        worst_drop: Mean drop of each modality.
        p5_parity: The least 5th percentile of DSC with the float32 masks.
        low_share: The largest share of masks below `LOW`.
    """

    mean_drop: float = 0.005
    worst_drop: float = 0.02
    p5_parity: float = 0.95
    low_share: float = 0.02

    def __post_init__(self) -> None:
        named = {
            "--max-dsc-drop": self.mean_drop,
            "--worst-dsc-drop": self.worst_drop,
            "--min-p5-parity": self.p5_parity,
            "--max-low-masks": self.low_share,
        }
        for name, value in named.items():
            if not 0 <= value <= 1:
                remedy = "0.005, 0.02, 0.95 and 0.02 are the defaults"
                raise UsageError(f"{name} between 0 and 1", f"{value}", remedy)


NO_LIMITS = Limits(1.0, 1.0, 0.0, 1.0)
"""For random weights, whose masks say nothing."""


@dataclass(frozen=True)
class Group:
    """Masks of one modality.

    `drop_bound` is None where there are fewer patients than a bound needs: the mean is held against the limit then.
    """

    modality: str
    masks: int
    patients: int
    mean_drop: float
    drop_bound: float | None
    mean_parity: float
    low: int


@dataclass(frozen=True)
class Bounds:
    """The far ends of one-sided 95 % intervals of a `Drop`'s figures: `low_share` of `low` over `masks`."""

    mean_drop: float
    p5_parity: float
    low_share: float


@dataclass(frozen=True)
class Drop:
    """All masks of a candidate, summed up.

    Attributes:
        cases, masks, patients: How many.
        mean_drop: Mean over masks.
        mean_parity: Mean DSC with the float32 masks.
        p5_parity: Its 5th percentile.
        lowest_parity: Its lowest, of the case `lowest`.
        low: Masks below `LOW`.
        modalities: Each modality, the worst drop first.
        bounds: None where they were not asked for, or of fewer patients than they need.
    """

    cases: int
    masks: int
    patients: int
    mean_drop: float
    mean_parity: float
    p5_parity: float
    lowest_parity: float
    lowest: str
    low: int
    modalities: tuple[Group, ...]
    bounds: Bounds | None = None

    @property
    def low_share(self) -> float:
        """Share of masks below `LOW`."""
        return self.low / self.masks if self.masks else 1.0

    def objections(self, limits: Limits) -> tuple[str, ...]:
        """Say which limits are not kept by what is surest of each figure; empty where all are."""
        return tuple(self._objections(limits)) if self.masks else ("its masks are no numbers",)

    def _objections(self, limits: Limits) -> Iterator[str]:
        sure, verb = (self.bounds, "may be") if self.bounds else (self, "is")
        if sure.mean_drop > limits.mean_drop:
            yield f"the mean DSC drop {verb} {sure.mean_drop:.4f} (limit {limits.mean_drop})"
        for group in self.modalities:
            yield from _too_much(group, limits.worst_drop, bounded=self.bounds is not None)
        if sure.p5_parity < limits.p5_parity:
            yield f"the 5th percentile of DSC with float32 {verb} {sure.p5_parity:.3f} (limit {limits.p5_parity})"
        if sure.low_share > limits.low_share:
            yield f"the share of masks below {LOW} {verb} {sure.low_share:.2%} (limit {limits.low_share:.2%})"


NOTHING_LEFT = Drop(0, 0, 0, 1.0, 0.0, 0.0, 0.0, "", 0, ())
"""A candidate that answers with NaN: it keeps no limits at all."""


def surely_lost(group: Group) -> float:
    """Return what is held against the limit of a modality: the bound, or the mean where there is none."""
    return group.mean_drop if group.drop_bound is None else group.drop_bound


def _too_much(group: Group, limit: float, bounded: bool) -> Iterator[str]:
    if group.drop_bound is not None and group.drop_bound > limit:
        yield f"{group.modality} may lose {group.drop_bound:.4f} (limit {limit})"
    if group.drop_bound is None and group.mean_drop > limit:
        few = f"; {people(group.patients)}: too few to bound" if bounded else ""
        yield f"{group.modality} loses {group.mean_drop:.4f} (limit {limit}{few})"


def people(count: int) -> str:
    """Count patients in words."""
    return f"{count} patient" if count == 1 else f"{count} patients"


def summed(scores: Sequence[MaskScore], seed: int | None = None) -> Drop:
    """Sum up at least one score.

    Args:
        scores: Of one candidate.
        seed: What bounds are drawn with; None: no bounds.
    """
    parity, drop = np.array([one.parity for one in scores]), np.array([one.drop for one in scores])
    lowest = scores[int(parity.argmin())]
    names = sorted({one.modality for one in scores})
    groups = [_group(name, [one for one in scores if one.modality == name], seed) for name in names]
    return Drop(
        cases=len({one.case for one in scores}),
        masks=len(scores),
        patients=_patients(scores),
        mean_drop=float(drop.mean()),
        mean_parity=float(parity.mean()),
        p5_parity=float(np.percentile(parity, TAIL)),
        lowest_parity=lowest.parity,
        lowest=lowest.case,
        low=_low(scores),
        modalities=tuple(sorted(groups, key=lambda group: -group.mean_drop)),
        bounds=_bounded(scores, seed, _bounds),
    )


def _group(modality: str, scores: Sequence[MaskScore], seed: int | None) -> Group:
    drop, parity = (float(np.mean(values)) for values in zip(*((one.drop, one.parity) for one in scores), strict=True))
    bound = _bounded(scores, seed, lambda some, drawn: drawn.highest_mean(np.array([one.drop for one in some])))
    return Group(modality, len(scores), _patients(scores), drop, bound, parity, _low(scores))


def _patients(scores: Iterable[MaskScore]) -> int:
    return len({one.patient for one in scores})


def _low(scores: Iterable[MaskScore]) -> int:
    return sum(one.parity < LOW for one in scores)


def _bounded(
    scores: Sequence[MaskScore], seed: int | None, bound: Callable[[Sequence[MaskScore], Resamples], T]
) -> T | None:
    if seed is None or _patients(scores) < LEAST_PATIENTS:
        return None
    return bound(scores, Resamples.of([one.patient for one in scores], seed))


def _bounds(scores: Sequence[MaskScore], drawn: Resamples) -> Bounds:
    parity, drop = np.array([one.parity for one in scores]), np.array([one.drop for one in scores])
    low = (parity < LOW).astype(np.float64)
    return Bounds(drawn.highest_mean(drop), drawn.lowest_percentile(parity, TAIL), drawn.highest_mean(low))
