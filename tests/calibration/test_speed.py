"""Encoders by turns, and what counts as paying."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import cast

import numpy as np
import pytest
from medsam_edge.calibration.speed import Speed, compared, interleaved
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
    taken = interleaved({name: opener(name, turns) for name in "ab"}, {}, 3)
    assert turns == ["a", "b", *"ababab", "b closed", "a closed"]
    assert {name: len(values) for name, values in taken.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_of_medians() -> None:
    speed = compared({"f32": [10.0, 12.0, 11.0, 10.0, 12.0], "int8": [5.0] * 5}, "int8", "f32")
    assert (speed.median_ms, speed.against, speed.times, speed.rounds) == (5.0, "f32", 2.2, 5)


@pytest.mark.parametrize(("times", "low", "margin", "pays"), [
    (1.2, 1.05, 1.1, True),
    (1.05, 1.01, 1.1, False),
    (1.2, 0.9, 1.1, False),
    (1.2, None, 1.1, True),
    (1.1, 1.05, 1.1, True),
])  # fmt: skip
def test_it_pays_by_the_margin_and_surely(times: float, low: float | None, margin: float, pays: bool) -> None:
    assert Speed(1.0, "f32", times, low, None, 9).pays(margin) == pays
