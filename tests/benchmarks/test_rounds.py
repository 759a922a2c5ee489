from collections.abc import Callable
from typing import TypeVar, cast

import pytest
from medsam_edge.benchmarks import rounds
from medsam_edge.benchmarks.candidates import Candidate, Role
from medsam_edge.benchmarks.rounds import Machine, Plan, Schedule, Turns, affordable, opened, take_turns
from medsam_edge.benchmarks.worker.messages import Done, Measured, Opening, Request
from medsam_edge.runtime.predictor import ServedBy, Timings

T = TypeVar("T")
SERVED = ServedBy("fake", "1", "CPU", "f32", {})


class Scripted:
    """Notes what it is asked; its peak grows with each answer, and each stage takes longer than the one before."""

    def __init__(self, name: str, noted: list[tuple[str, str, int, int]]) -> None:
        self.name, self.noted, self.count = name, noted, 0

    def ask(self, message: object, kind: type[T]) -> T:
        if isinstance(message, Opening):
            return cast("T", SERVED)
        assert isinstance(message, Request)
        self.noted.append((self.name, message.ask, message.sample, message.count))
        if message.ask == "samples":
            return cast("T", Done())
        self.count += 1
        return cast("T", Measured(Timings(1.0, 2.0, 64.0, 8.0), float(self.count), self.count != 3))


@pytest.fixture
def noted() -> list[tuple[str, str, int, int]]:
    return []


@pytest.fixture
def everyone(noted: list[tuple[str, str, int, int]]) -> list[Turns]:
    return [opened(candidate(name), lambda name=name: Scripted(name, noted), "file") for name in "ab"]


def candidate(name: str) -> Candidate:
    return Candidate(name, name, Role.OWN, "", Opening("bundle"))


def run(everyone: list[Turns], plan: Plan, machine: Machine | None = None) -> Schedule:
    return take_turns(everyone, machine, (0, 4), plan, 0.0, lambda *_: None)


def test_a_candidate_draws_its_first_mask_when_it_is_opened(everyone: list[Turns], noted: list[object]) -> None:
    assert noted[:2] == [("a", "samples", 0, 0), ("a", "one box", 0, 0)]
    for turns in everyone:
        assert turns.first_mask_ms == turns.ready_ms + 75
        assert turns.served_by == SERVED


def test_all_take_turns_on_the_same_image_and_the_machine_comes_last(
    everyone: list[Turns], noted: list[tuple[str, str, int, int]]
) -> None:
    noted.clear()
    assert run(everyone, Plan(2, 32), Machine(Scripted("gemm", noted), "numpy")) == Schedule(2, 1)
    one = [(name, ask) for name, ask, _, _ in noted[:5]]
    assert one == [("a", "one box"), ("a", "many boxes"), ("b", "one box"), ("b", "many boxes"), ("gemm", "gemm")]
    assert [name for name, ask, _, _ in noted if ask == "one box"] == ["a", "b"] * 3
    assert [sample for name, _, sample, _ in noted if name != "gemm"] == [0] * 4 + [4] * 4 + [0] * 4
    assert {count for _, ask, _, count in noted if ask == "many boxes"} == {32}


def test_many_boxes_are_counted_for_each_box_and_can_be_left_out(everyone: list[Turns], noted: list[object]) -> None:
    run(everyone, Plan(1, 32))
    assert everyone[0].many == [2.0, 2.0]
    noted.clear()
    run(everyone, Plan(1, 0))
    assert ("a", "many boxes", 0, 0) not in noted
    assert len(everyone[0].many) == 2


def test_the_peak_of_one_box_is_not_that_of_many(everyone: list[Turns]) -> None:
    assert everyone[0].peak_many_mib is None
    run(everyone, Plan(3, 32))
    assert everyone[0].peak_mib == 2.0  # the very first image and the one before the first many boxes
    assert everyone[0].peak_many_mib == everyone[0].child.count  # type: ignore[attr-defined]


def test_a_candidate_that_once_kept_computing_is_remembered(everyone: list[Turns]) -> None:
    assert everyone[0].quiet
    run(everyone, Plan(3, 32))
    assert not everyone[0].quiet


@pytest.mark.parametrize(("asked", "schedule"), [(1, (1, 1)), (19, (19, 1)), (20, (20, 5)), (None, (100, 5))])
def test_long_runs_warm_up_longer(everyone: list[Turns], asked: int | None, schedule: tuple[int, int]) -> None:
    assert run(everyone, Plan(asked, 0)) == Schedule(*schedule)
    assert len(everyone[0].one) == 1 + sum(schedule)


@pytest.mark.parametrize(
    ("round_s", "spent_s", "count"), [(10.0, 50.0, 25), (0.1, 0.0, 100), (200.0, 200.0, 5), (10.0, 900.0, 5)]
)
def test_auto_is_five_minutes_within_bounds(round_s: float, spent_s: float, count: int) -> None:
    assert affordable(round_s, spent_s) == count


def test_auto_asks_the_clock(everyone: list[Turns], monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Callable[[], float] = iter((0.0, 30.0)).__next__
    monkeypatch.setattr(rounds, "perf_counter", ticks)
    assert run(everyone, Plan(None, 0)).rounds == 9


def test_progress_counts_rounds_and_says_when_it_matters(everyone: list[Turns]) -> None:
    told: list[tuple[str, int, int]] = []
    take_turns(everyone, None, (0,), Plan(2, 0), 0.0, lambda *each: told.append(each))
    assert told == [("warm-up", 0, 1), ("measuring", 1, 3), ("measuring", 2, 3)]
