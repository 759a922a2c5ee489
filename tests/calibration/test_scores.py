"""Sums of what masks lose, their bounds, and the limits."""

from dataclasses import replace

import pytest
from medsam_edge.calibration.bootstrap import LEAST_PATIENTS
from medsam_edge.calibration.scores import NO_LIMITS, NOTHING_LEFT, Drop, Limits, MaskScore, summed
from medsam_edge.runtime.errors import UsageError

ANY = replace(NO_LIMITS)


def score(case: str, drop: float, modality: str = "CT", parity: float = 1.0) -> MaskScore:
    return MaskScore(f"{case} of {drop}", case, modality, parity, drop)


def said(drop: Drop, limits: Limits) -> str:
    """The one objection."""
    (text,) = drop.objections(limits)
    return text


def test_the_worst_modality_is_named_though_the_mean_hides_it() -> None:
    many = [score(f"a{n}", 0.0) for n in range(99)]
    drop = summed([*many, score("b", 0.05, "US", 0.8)])
    assert drop.mean_drop == pytest.approx(0.0005)
    assert drop.modalities[0].modality == "US"
    assert drop.modalities[0].mean_drop == 0.05
    assert [text for text in drop.objections(Limits()) if "US loses 0.0500" in text]
    assert drop.low == 1
    assert (drop.lowest, drop.lowest_parity) == ("b of 0.05", 0.8)
    assert (drop.cases, drop.masks, drop.patients) == (100, 100, 100)


def bound_of(scores: list[MaskScore]) -> float:
    bounds = summed(scores, 0).bounds
    assert bounds is not None
    return bounds.mean_drop


def test_the_bound_is_above_the_mean_and_shrinks_with_more_cases() -> None:
    few = bound_of([score(str(n), 0.01 * (n % 2)) for n in range(8)])
    many = bound_of([score(str(n), 0.01 * (n % 2)) for n in range(800)])
    assert few > many > 0.0051


def test_masks_of_one_patient_count_together() -> None:
    """A hundred masks of ten people are ten observations, not a hundred."""
    apart = bound_of([score(str(n), 0.01 * (n % 2)) for n in range(100)])
    together = bound_of([score(str(n % 10), 0.01 * (n % 2)) for n in range(100)])
    assert together - 0.005 > 2 * (apart - 0.005)


def test_the_bound_is_the_normal_approximations_for_many_cases() -> None:
    scores = [score(str(n), 0.02 * (n % 2)) for n in range(2000)]
    assert bound_of(scores) == pytest.approx(0.01 + 1.645 * 0.01 / 2000**0.5, rel=0.01)


def test_without_a_seed_means_are_held_and_with_one_bounds_are() -> None:
    scores = [score(str(n), 0.04 * (n == 0)) for n in range(10)]
    assert summed(scores).bounds is None
    assert not summed(scores).objections(replace(ANY, mean_drop=0.005))
    drop = summed(scores, 0)
    assert drop.mean_drop < 0.005
    assert "mean DSC drop may be" in said(drop, replace(ANY, mean_drop=0.005))
    assert not drop.objections(replace(ANY, mean_drop=0.5))


def test_the_bound_of_each_modality_is_held_against_the_limit_and_not_its_mean() -> None:
    """The mean of both modalities keeps it; the one that varies does not surely keep it."""
    scores = [score(f"c{n}", 0.015) for n in range(20)] + [score(f"u{n}", 0.04 * (n % 3 == 0), "US") for n in range(20)]
    drop = summed(scores, 0)
    assert max(group.mean_drop for group in drop.modalities) < 0.02
    assert said(drop, replace(ANY, worst_drop=0.02)).startswith("US may lose 0.0")
    assert drop.modalities[0].modality == "CT"


def test_a_modality_of_few_patients_is_held_by_its_mean_and_says_so() -> None:
    """Forty slices of two people bound nothing."""
    scores = [score(f"c{n}", 0.0) for n in range(20)]
    few = [score(f"u{n % 2}", 0.03 * (n % 2), "US") for n in range(40)]
    drop = summed([*scores, *few], 0)
    group = drop.modalities[0]
    assert (group.modality, group.patients, group.masks, group.drop_bound) == ("US", 2, 40, None)
    assert not drop.objections(replace(ANY, worst_drop=0.02))
    assert said(drop, replace(ANY, worst_drop=0.01)) == ("US loses 0.0150 (limit 0.01; 2 patients: too few to bound)")


def test_the_tail_is_held_by_its_bound() -> None:
    """The 5th percentile is 0.97 as it was seen; four of a hundred at 0.8 may as well have been eight."""
    scores = [score(str(n), 0.0, parity=0.8 if n < 4 else 0.97) for n in range(100)]
    drop = summed(scores, 0)
    assert drop.p5_parity > 0.96
    limits = replace(ANY, p5_parity=0.95)
    assert "5th percentile of DSC with float32 may be 0.8" in said(drop, limits)
    assert not summed(scores).objections(limits)


def test_the_share_of_low_masks_is_held_by_its_bound() -> None:
    scores = [score(str(n), 0.0, parity=0.89 if n < 4 else 0.97) for n in range(100)]
    drop = summed(scores, 0)
    assert drop.bounds is not None
    assert drop.low_share == 0.04 < drop.bounds.low_share < 0.1
    limits = replace(ANY, low_share=0.05)
    assert "share of masks below 0.9 may be" in said(drop, limits)
    assert not summed(scores).objections(limits)
    assert "is 4.00% (limit 3.00%)" in said(summed(scores), replace(ANY, low_share=0.03))


@pytest.mark.parametrize("count", [LEAST_PATIENTS - 1, LEAST_PATIENTS])
def test_a_bound_needs_patients(count: int) -> None:
    drop = summed([score(str(n % count), 0.01 * n) for n in range(50)], 0)
    assert (drop.bounds is None) == (count < LEAST_PATIENTS)


def test_nothing_is_kept_by_a_candidate_without_masks() -> None:
    assert NOTHING_LEFT.objections(NO_LIMITS)
    assert not summed([score("a", 1.0, parity=0.0)], 0).objections(NO_LIMITS)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["mean_drop", "worst_drop", "p5_parity", "low_share"])
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=r"--(max|min|worst).*between 0 and 1"):
        replace(Limits(), **{name: value})
