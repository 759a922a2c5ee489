import numpy as np
import pytest
from medsam_edge.calibration.jitter import INWARD, SHIFT, jittered, with_jitter
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.runtime.boxes import check_boxes
from medsam_edge.runtime.types import Boxes

HW = (512, 1024)


def moved(box: list[float], count: int = 2000, hw: tuple[int, int] = HW) -> Boxes:
    boxes = np.tile(np.array([box], np.float32), (count, 1))
    result = jittered(boxes, hw, np.random.default_rng(0))
    np.testing.assert_array_equal(check_boxes(result, hw), result)
    return result


def test_a_side_moves_by_no_more_than_in_training() -> None:
    out = moved([400, 200, 700, 400]) - np.array([400, 200, 700, 400])
    for column, limit in ((0, 20), (1, 10), (2, 20), (3, 10)):
        assert np.abs(out[:, column]).max() == pytest.approx(limit, rel=0.02)
        assert out[:, column].min() < 0 < out[:, column].max()


def test_a_small_box_grows_by_more_than_it_shrinks() -> None:
    box = np.array([400, 200, 410, 210])
    out = (moved(box.tolist()) - box) * (-1, -1, 1, 1)
    assert out.min() == pytest.approx(-10 * INWARD, rel=0.02)
    assert out.max() == pytest.approx(20, rel=0.02)


@pytest.mark.parametrize(
    "box", [[0, 0, 1024, 512], [0, 0, 1, 1], [1023, 511, 1024, 512], [5, 5, 5.0001, 5.0001], [1000, 0, 1000.0001, 512]]
)
def test_a_box_at_the_edge_stays_inside_and_not_empty(box: list[float]) -> None:
    moved(box)


def test_sides_move_apart_from_each_other() -> None:
    out = jittered(np.array([[400, 200, 700, 400]] * 2, np.float32), HW, np.random.default_rng(0))
    assert len(np.unique(out - np.array([400, 200, 700, 400]))) == 8


def test_a_shift_of_nothing_moves_nothing() -> None:
    boxes = np.array([[3, 4, 50, 60]], np.float32)
    np.testing.assert_array_equal(jittered(boxes, (70, 70), np.random.default_rng(0), shift=0), boxes)


def test_every_candidate_sees_the_same_prompts_of_a_case() -> None:
    first, other = phantom(0), phantom(1)
    expected = with_jitter(first, 3).boxes
    with_jitter(other, 3)
    np.testing.assert_array_equal(with_jitter(first, 3).boxes, expected)
    assert (with_jitter(first, 4).boxes != expected).any()
    assert (expected != first.boxes).any()
    assert with_jitter(first, 3).image is first.image


def test_two_cases_of_the_same_boxes_get_other_prompts() -> None:
    case = phantom(0)
    twin = type(case)("twin", case.image, case.boxes, case.masks, case.modality, case.patient)
    assert (with_jitter(case, 3).boxes != with_jitter(twin, 3).boxes).any()


def test_the_shift_is_that_of_both_trainings() -> None:
    assert SHIFT == 20 / 1024 == 5 / 256
