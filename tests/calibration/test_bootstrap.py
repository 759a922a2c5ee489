"""Bounds of figures whose spread is known, and what a bootstrap cannot say."""

import numpy as np
import pytest
from medsam_edge.calibration.bootstrap import Resamples, unseen_share


def own(count: int) -> list[str]:
    """A patient for each mask."""
    return [str(number) for number in range(count)]


def test_a_share_is_bounded_as_a_binomial_is() -> None:
    values = np.array([1.0] * 40 + [0.0] * 960)
    deviation = float((0.04 * 0.96 / 1000) ** 0.5)
    bound = Resamples.of(own(1000), 0).highest_mean(values)
    assert bound == pytest.approx(0.04 + 1.645 * deviation, abs=0.3 * deviation)


def test_a_percentile_is_bounded_by_the_order_statistic_that_theory_names() -> None:
    """At most 38 of 1000 lie below the bound: the 5 % quantile of a binomial of 1000 and 0.05."""
    values = np.linspace(0, 1, 1000)
    bound = Resamples.of(own(1000), 0).lowest_percentile(values, 5)
    assert bound == pytest.approx(0.0385, abs=0.002)
    assert bound < np.percentile(values, 5)


def test_many_slices_of_a_patient_are_one_observation() -> None:
    """400 masks of 20 people: 20 masks that agree within a person bound no more than one of each does."""
    people = np.random.default_rng(1).normal(0, 0.01, 20)
    single = Resamples.of(own(20), 3)
    slices = Resamples.of([str(number // 20) for number in range(400)], 3)
    apart = Resamples.of(own(400), 3)
    values = np.repeat(people, 20)
    assert slices.highest_mean(values) == pytest.approx(single.highest_mean(people))
    assert slices.lowest_percentile(values, 5) == pytest.approx(single.lowest_percentile(people, 5), abs=0.004)
    assert slices.highest_mean(values) - values.mean() > 3 * (apart.highest_mean(values) - values.mean())


def test_a_patient_with_many_slices_weighs_by_masks() -> None:
    values = np.array([0.1] * 90 + [0.0] * 10)
    drawn = Resamples.of(["one"] * 90 + own(10), 0)
    assert drawn.highest_mean(values) > 0.095
    assert drawn.drawn.sum(axis=1).tolist() == [11] * len(drawn.drawn)


def test_no_bound_is_better_than_what_was_seen() -> None:
    drawn = Resamples.of(own(30), 0)
    constant = np.full(30, 0.7)
    assert drawn.highest_mean(constant) == pytest.approx(0.7)
    assert drawn.lowest_percentile(constant, 5) == pytest.approx(0.7)


def test_the_same_seed_bounds_the_same() -> None:
    values = np.linspace(0, 1, 50)
    one, same, other = (Resamples.of(own(50), seed).highest_mean(values) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(("patients", "share"), [(1, 0.95), (59, 0.0495), (300, 0.00994)])
def test_what_nobody_had_some_may_have(patients: int, share: float) -> None:
    assert unseen_share(patients) == pytest.approx(share, rel=0.01)
    assert (1 - unseen_share(patients)) ** patients == pytest.approx(0.05)
