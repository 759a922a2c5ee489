"""The front in characters: where the marks stand, and that it fits any terminal."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from medsam_edge.benchmarks.front import front
from medsam_edge.benchmarks.front_text import FrontText
from medsam_edge.calibration.outcome import Candidate, Outcome
from rich.console import Console

Make = Callable[..., Candidate]
Gather = Callable[..., Outcome]


def lines(outcome: Outcome, width: int = 80, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=stream, width=width, markup=False, color_system=None).print(FrontText(front(outcome)))
    stream.flush()
    return raw.getvalue().decode(encoding).splitlines()


def place(found: list[str], letter: str) -> tuple[int, int]:
    """Row and column of a mark within the axes."""
    rows = [(row, line[9:]) for row, line in enumerate(found) if line[8:9] in "│|"]
    ((row, column),) = [(row, text.index(letter)) for row, text in rows if letter in text.partition(" limit")[0]]
    return row, column


def test_faster_is_further_left_and_worse_is_further_up(candidate: Make, outcome: Gather) -> None:
    found = lines(outcome(candidate("bf16", 120, 0.001, 0.002), candidate("int8", 50, 0.003, 0.004)))
    float32, bf16, int8 = (place(found, letter) for letter in "ABC")
    assert int8[1] < float32[1] < bf16[1]
    assert int8[0] < bf16[0] < float32[0]


def test_a_bar_reaches_up_to_the_bound(candidate: Make, outcome: Gather) -> None:
    found = lines(outcome(candidate("int8", 50, 0.0, 0.004)))
    row, column = place(found, "B")
    assert [line[9 + column] for line in found[row - 3 : row]] == ["│"] * 3
    assert "╷" in "".join(found)


def test_the_limit_is_drawn_and_named(usual: Outcome) -> None:
    (line,) = [line for line in lines(usual) if line.endswith("limit of the bound 0.005")]
    assert "╌╌╌" in line
    assert "limit of" not in "".join(lines(replace(usual, gating=False)))


def test_two_in_one_place_stand_side_by_side(candidate: Make, outcome: Gather) -> None:
    found = lines(outcome(candidate("int8", 50), candidate("int8+bf16", 50)))
    assert any("BC" in line for line in found)


def test_what_lies_far_beyond_the_limit_leaves_room_for_what_does_not(candidate: Make, outcome: Gather) -> None:
    found = lines(outcome(candidate("bf16", 60, 0.0, 0.004), candidate("int8", 50, 0.3, 0.4)))
    assert place(found, "B")[0] - place(found, "C")[0] >= 6
    assert sum("╷" in line or "│" in line[10:] for line in found) >= 3


def test_every_candidate_and_the_front_are_named(usual: Outcome) -> None:
    text = " ".join(" ".join(lines(usual)).split())
    assert "A float32 B bf16 (refused) C int8 (kept)" in text
    assert "On the front: C, A." in text
    assert "Not drawn: int8+bf16: it loses 0.44." in text


def test_without_a_timed_candidate_there_is_no_plot_and_a_reason(candidate: Make, outcome: Gather) -> None:
    found = lines(outcome(candidate("int8", None, objections=("it loses 0.1",))))
    assert "No candidate was timed: there is no front to draw." in found
    assert not [line for line in found if "│" in line]


@pytest.mark.parametrize("width", [50, 80, 200])
def test_it_fits_and_is_never_wider_than_80_columns(usual: Outcome, width: int) -> None:
    assert max(map(len, lines(usual, width))) <= min(width, 80)


def test_a_terminal_without_line_characters_gets_plain_ones(usual: Outcome) -> None:
    assert all(line.isascii() for line in lines(usual, encoding="ascii"))
