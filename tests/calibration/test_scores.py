"""Sums of what masks lose, their bound, and the limits."""

import pytest
from medsam_edge.calibration.scores import Limits, MaskScore, summed
from medsam_edge.runtime.errors import UsageError


def score(case: str, drop: float, modality: str = "CT", parity: float = 1.0) -> MaskScore:
    return MaskScore(f"{case} of {drop}", case, modality, parity, drop)


def test_the_worst_modality_is_named_though_the_mean_hides_it() -> None:
    many = [score(f"a{n}", 0.0) for n in range(99)]
    drop = summed([*many, score("b", 0.05, "US", 0.8)])
    assert drop.mean_drop == pytest.approx(0.0005)
    assert drop.modalities[0].modality == "US"
    assert drop.modalities[0].mean_drop == 0.05
    assert [text for text in drop.objections(Limits()) if "US loses 0.0500" in text]
    assert drop.low == 1
    assert (drop.lowest, drop.lowest_parity) == ("b of 0.05", 0.8)
    assert (drop.cases, drop.masks) == (100, 100)


def test_the_bound_is_above_the_mean_and_shrinks_with_more_cases() -> None:
    few = summed([score(str(n), 0.01 * (n % 2)) for n in range(8)])
    many = summed([score(str(n), 0.01 * (n % 2)) for n in range(800)])
    assert [few.mean_drop, many.mean_drop] == pytest.approx([0.005, 0.005])
    assert few.drop_bound > many.drop_bound > 0.0051


def test_masks_of_one_patient_count_together() -> None:
    """A hundred masks of two people are two observations, not a hundred."""
    apart = summed([score(str(n), 0.01 * (n % 2)) for n in range(100)])
    together = summed([score(str(n % 2), 0.01 * (n % 2)) for n in range(100)])
    assert together.drop_bound > 1.5 * apart.drop_bound


def test_the_bound_is_the_normal_approximations_for_many_cases() -> None:
    scores = [score(str(n), 0.02 * (n % 2)) for n in range(2000)]
    assert summed(scores).drop_bound == pytest.approx(0.01 + 1.645 * 0.01 / 2000**0.5, rel=0.01)


def test_a_bound_above_the_limit_is_an_objection_though_the_mean_is_below() -> None:
    drop = summed([score(str(n), 0.04 * (n == 0)) for n in range(10)])
    assert drop.mean_drop < 0.005
    assert any("may be" in text for text in drop.objections(Limits()))
    assert not drop.objections(Limits(0.5, 0.5))


@pytest.mark.parametrize("values", [(-0.1, 0.1), (0.1, 1.5), (float("nan"), 0.1)])
def test_a_limit_that_is_none_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Limits(*values)
