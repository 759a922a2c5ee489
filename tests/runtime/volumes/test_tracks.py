import numpy as np
import pytest
from medsam_edge.runtime.volumes.conventions import CONVENTIONS
from medsam_edge.runtime.volumes.prompts import Prompt
from medsam_edge.runtime.volumes.tracks import DOWN, UP, Step, Tracks, steps_of

FULL = (0.0, 0.0, 8.0, 8.0)
PROMPTS = (Prompt(FULL, 3, 1, 5), Prompt(FULL, 7, 6, 8))


def tracks(after_empty: str = "stop") -> Tracks:
    return Tracks(PROMPTS, CONVENTIONS["medficientsam"], after_empty)


def mask(filled: bool = True) -> np.ndarray:
    one = np.zeros((1, 8, 8), bool)
    one[0, 2:5, 3:7] = filled
    return one


def test_slices_are_visited_up_and_then_down_and_only_where_an_object_may_be() -> None:
    ways = [(step.way, step.index) for step in steps_of(PROMPTS)]
    assert ways == [(UP, z) for z in (3, 4, 5, 7, 8)] + [(DOWN, z) for z in (6, 2, 1)]


def test_who_is_at_a_step_is_known_from_its_range() -> None:
    found = {(step.way, step.index): tracks().at(step).tolist() for step in steps_of(PROMPTS)}
    assert found[UP, 4] == [0]
    assert found[DOWN, 6] == [1]
    assert found[DOWN, 2] == [0]
    assert tracks().at(Step(DOWN, 3)).size == 0  # the start belongs to the way up


def test_the_box_of_the_start_goes_both_ways_and_a_later_one_only_on() -> None:
    one = tracks()
    one.update(Step(UP, 3), np.array([0]), mask())
    assert one.boxes[:, 0].tolist() == [[3, 2, 6, 4]] * 2
    moved = np.roll(mask(), 1, axis=2)
    one.update(Step(UP, 4), np.array([0]), moved)
    assert one.boxes[:, 0].tolist() == [[4, 2, 7, 4], [3, 2, 6, 4]]
    assert (one.voxels.tolist(), one.slices.tolist()) == ([24, 0], [2, 0])


@pytest.mark.parametrize("after_empty", ["stop", "first-box"])
def test_an_empty_mask_ends_the_object_or_begins_it_again(after_empty: str) -> None:
    one = tracks(after_empty)
    one.update(Step(UP, 3), np.array([0]), mask())
    one.update(Step(UP, 4), np.array([0]), mask(False))
    assert one.at(Step(UP, 5)).tolist() == ([] if after_empty == "stop" else [0])
    assert one.boxes[UP, 0].tolist() == list(FULL)
    assert one.at(Step(DOWN, 2)).tolist() == [0]  # the other way goes on
    one = tracks(after_empty)
    one.update(Step(UP, 3), np.array([0]), mask(False))
    assert one.at(Step(DOWN, 2)).tolist() == ([] if after_empty == "stop" else [0])
