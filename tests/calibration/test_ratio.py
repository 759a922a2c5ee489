"""Ratios of paired samples and their intervals."""

import numpy as np
import pytest
from medsam_edge.calibration.ratio import LEAST_ROUNDS, ratio


def test_a_ratio_is_that_of_the_medians_and_the_faster_one_has_more() -> None:
    assert ratio((1.0, 2.0, 100.0), (8.0, 4.0, 2.0)) == (2.0, None, None)


def test_a_constant_ratio_has_no_width_however_the_machine_swings() -> None:
    own = np.random.default_rng(0).lognormal(0, 1, 31)
    middle, low, high = ratio(own, 3 * own)
    assert (middle, low, high) == pytest.approx((3, 3, 3))


def test_the_interval_holds_the_ratio_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(1)
    own, other = rng.normal(10, 1, 50), rng.normal(25, 2, 50)
    middle, low, high = ratio(own, other)
    assert low is not None
    assert high is not None
    assert 2.2 < low < middle < high < 2.8
    assert ratio(own, other) == (middle, low, high)


def test_more_rounds_make_the_interval_narrower() -> None:
    rng = np.random.default_rng(2)
    few, many = (ratio(rng.normal(10, 2, count), rng.normal(20, 2, count)) for count in (8, 400))
    assert few[1] is not None and few[2] is not None and many[1] is not None and many[2] is not None  # noqa: PT018
    assert many[2] - many[1] < (few[2] - few[1]) / 2


def test_too_few_rounds_have_no_interval() -> None:
    assert ratio((1.0,) * (LEAST_ROUNDS - 1), (2.0,) * (LEAST_ROUNDS - 1)) == (2.0, None, None)
    assert ratio((1.0,) * LEAST_ROUNDS, (2.0,) * LEAST_ROUNDS) == (2.0, 2.0, 2.0)
