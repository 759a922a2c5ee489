"""Encoders by turns, and what counts as paying."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import cast

import numpy as np
import pytest
from medsam_edge.calibration.speed import Speed, compared, interleaved, upwards
from medsam_edge.runtime.backends.base import HostTensor, Tensor
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.types import AnyArray


class Noted:
    """Stands in for a predictor: notes its turn."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name, self.turns = name, turns

    def encode(self, inputs: Mapping[str, AnyArray]) -> Tensor:
        self.turns.append(self.name)
        return HostTensor(np.zeros(1, np.float32))


def opener(name: str, turns: list[str]) -> Callable[[ExitStack], Predictor]:
    def opened(stack: ExitStack) -> Predictor:
        stack.callback(turns.append, f"{name} closed")
        return cast(Predictor, Noted(name, turns))

    return opened


def test_candidates_take_turns_after_a_warm_up_and_are_closed() -> None:
    turns: list[str] = []
    taken = interleaved({name: opener(name, turns) for name in "ab"}, {}, 4)
    assert turns == ["a", "b", *"abbaabba", "b closed", "a closed"]
    assert {name: len(values) for name, values in taken.items()} == {"a": 4, "b": 4}


def test_each_of_three_is_as_often_in_every_place() -> None:
    turns: list[str] = []
    interleaved({name: opener(name, turns) for name in "abc"}, {}, 6)
    rounds = [turns[start : start + 3] for start in range(3, 21, 3)]
    for place in range(3):
        assert Counter(one[place] for one in rounds) == {"a": 2, "b": 2, "c": 2}


def test_a_ratio_is_of_medians() -> None:
    speed = compared({"f32": [10.0, 12.0, 11.0, 10.0, 12.0], "int8": [5.0] * 5}, "int8", "f32")
    assert (speed.median_ms, speed.against, speed.against_ms, speed.times, speed.rounds) == (5.0, "f32", 11.0, 2.2, 5)


def test_it_says_how_sure_it_is() -> None:
    assert str(Speed(1.0, "f32", 2.0, 2.0, 0.5, 3.0, 9)) == "2.00 times as fast as f32 (95 % interval 0.50 to 3.00)"
    assert str(Speed(1.0, "f32", 2.0, 2.0, None, None, 3)) == "2.00 times as fast as f32"


@pytest.mark.parametrize("kept", [True, False])
def test_each_has_to_beat_the_fastest_that_is_kept_and_no_more_than_two_are_open(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(Speed, "pays", lambda _self, _margin: kept)
    openers = {name: opener(name, turns) for name in ("wide", "half", "int8")}
    found = upwards(openers, {}, 2, 1.1, lambda *each: told.append(each))
    assert {name: one.against for name, one in found.items()} == {"half": "wide", "int8": "half" if kept else "wide"}
    rest = "half" if kept else "wide"
    assert turns == [
        *("wide", "half", "wide", "half", "half", "wide", "half closed", "wide closed"),
        *(rest, "int8", rest, "int8", "int8", rest, "int8 closed", f"{rest} closed"),
    ]
    assert told == [("timing half", 0, 2), ("timing half", 1, 2), ("timing int8", 0, 2), ("timing int8", 1, 2)]


@pytest.mark.parametrize(("times", "low", "margin", "pays"), [
    (1.2, 1.05, 1.1, True),
    (1.05, 1.01, 1.1, False),
    (1.2, 0.9, 1.1, False),
    (1.2, None, 1.1, True),
    (1.1, 1.05, 1.1, True),
])  # fmt: skip
def test_it_pays_by_the_margin_and_surely(times: float, low: float | None, margin: float, pays: bool) -> None:
    assert Speed(1.0, "f32", times, times, low, None, 9).pays(margin) == pays
