"""The front: what can be drawn, what cannot, and which candidates nothing beats."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from medsam_edge.benchmarks.front import front
from medsam_edge.calibration.outcome import Candidate, Outcome

Make = Callable[..., Candidate]
Gather = Callable[..., Outcome]


def test_every_candidate_is_drawn_or_told(usual: Outcome) -> None:
    found = front(usual)
    assert [(one.letter, one.name, one.fate) for one in found.points] == [
        ("A", "float32", "reference"),
        ("B", "bf16", "refused"),
        ("C", "int8", "kept"),
    ]
    assert found.absent == (("int8+bf16", "it loses 0.44"),)
    assert (found.limit, found.worst_limit) == (0.005, 0.02)


def test_a_point_holds_what_was_measured(usual: Outcome) -> None:
    float32, _, int8 = front(usual).points
    assert (int8.ms, int8.drop, int8.bound, int8.worst, int8.memory_mb) == (50, 0.0003, 0.0007, 0.0022, 950)
    assert float32.ms == pytest.approx(100)  # nobody timed it for itself: int8 took 50, and was twice as fast
    assert (float32.drop, float32.bound, float32.memory_mb) == (0, 0, 2210)


def test_all_times_are_as_of_the_run_in_which_float32_was_timed(candidate: Make, outcome: Gather) -> None:
    """Each pair ran at another moment: 2.5 times as fast as int8's 50 ms is 20 ms, whatever the clock said."""
    second = candidate("int8+bf16", 40, against="openvino:CPU:int8")
    points = front(outcome(candidate("int8", 50), second)).points
    assert [(one.name, one.ms) for one in points] == [("float32", 100), ("int8", 50), ("int8+bf16", 20)]


def test_what_is_slower_and_no_better_is_not_on_the_front(candidate: Make, outcome: Gather) -> None:
    worse = candidate("bf16", 60, 0.0, 0.001)
    best = candidate("int8", 50, 0.0, 0.0005)
    fast = candidate("int8+bf16", 40, 0.002, 0.004)
    assert [one.name for one in front(outcome(worse, best, fast)).line] == ["int8+bf16", "int8", "float32"]


def test_a_gain_is_no_reason_to_be_on_the_front(candidate: Make, outcome: Gather) -> None:
    lucky = candidate("bf16", 120, -0.002, -0.001)
    assert [one.name for one in front(outcome(lucky)).line] == ["float32"]


def test_two_that_are_equal_are_both_on_the_front(candidate: Make, outcome: Gather) -> None:
    assert len(front(outcome(candidate("int8", 50), candidate("int8+bf16", 50))).line) == 3
    gains = (candidate("int8", 50, -0.002, -0.001), candidate("int8+bf16", 50, -0.003, -0.002))
    assert [one.name for one in front(outcome(*gains)).line] == ["int8+bf16", "int8"]


def test_one_that_passed_and_was_not_taken_is_told_apart(candidate: Make, outcome: Gather) -> None:
    found = front(outcome(candidate("bf16", 60), candidate("int8", 50, chosen=True)))
    assert [one.fate for one in found.points] == ["reference", "passed", "kept"]


def test_nothing_is_invented_where_nothing_was_timed(candidate: Make, outcome: Gather) -> None:
    found = front(outcome(candidate("int8", None, objections=("it loses 0.1 (limit 0.02)",))))
    assert (found.points, found.line) == ((), ())
    assert [name for name, _ in found.absent] == ["float32", "int8"]


def test_random_weights_have_no_limits(usual: Outcome) -> None:
    found = front(replace(usual, gating=False))
    assert (found.limit, found.worst_limit) == (None, None)
