import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medsam_edge.benchmarks.axes import Axis, loss_axis, time_axis


@pytest.mark.parametrize("axis", [Axis(-1, 5), Axis(-0.001, 0.5, 0.005)])
def test_a_value_comes_back_from_its_place(axis: Axis) -> None:
    values = np.linspace(axis.low, axis.high, 41)
    places = axis.place(values)
    assert np.allclose(axis.value(places), values)
    assert np.all(np.diff(places) > 0)
    assert (places[0], places[-1]) == pytest.approx((0, 1))


def test_half_the_time_is_half_the_way() -> None:
    axis = time_axis([10, 40])
    assert axis.place(np.array([20.0, 40.0])).tolist() == pytest.approx([0.5 / 1.12, 1 / 1.12])


@given(st.lists(st.floats(-0.5, 1), min_size=1), st.none() | st.floats(0, 1))
def test_everything_lies_on_the_axis_with_its_limit(values: list[float], limit: float | None) -> None:
    axis = loss_axis(values, limit)
    places = axis.place(np.array([*values, 0.0, limit or 0.0]))
    assert np.all((places > 0) & (places < 1))


def test_an_axis_is_bent_only_where_values_lie_far_beyond_the_limit() -> None:
    assert loss_axis([0.019], 0.005).knee is None
    bent = loss_axis([0.0004, 0.3], 0.005)
    assert bent.knee == 0.005
    low, limit, far = bent.place(np.array([0.0004, 0.005, 0.3]))
    assert low < 0.5 * limit < limit < far < 1  # what lies within the limit keeps its room
    assert loss_axis([0.3], None).knee is None
    assert loss_axis([0.3], 0.0).knee is None


def test_ticks_are_round_and_hold_the_limit() -> None:
    assert Axis(-0.1, 74).ticks(8) == (0, 10, 20, 30, 40, 50, 60, 70)
    assert loss_axis([0.0004], 0.005).ticks(5) == (0, 0.002, 0.004)
    assert loss_axis([0.27], 0.005).ticks(5)[-3:] == (0.005, 0.01, 0.1)
