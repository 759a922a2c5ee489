"""The front as characters, for a person who sees a terminal and no pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from .axes import loss_axis, time_axis
from .front import Front, Point

_ROWS, _MARGIN, _WIDEST = 12, 9, 80
_FATES = {"reference": "", "kept": " (kept)", "passed": " (passed)", "refused": " (refused)"}
# Corner, upright, level, tick, bound, its end, limit.
_DRAWN, _ASCII = ("└", "│", "─", "┬", "│", "╷", "╌"), ("+", "|", "-", "+", "|", ",", ".")


@dataclass(frozen=True)
class FrontText:
    """A plot of latency against the DSC drop; as wide as the console, at most 80 columns."""

    front: Front

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw it with the characters that the console can show."""
        yield Text("Encoder latency against what masks lose", "bold")
        if self.front.points:
            width = min(options.max_width, _WIDEST) - _MARGIN - 1
            yield from _Canvas(self.front, width, _ASCII if options.ascii_only else _DRAWN).lines()
        yield Text("\n".join(_legend(self.front)) + "\n")


def _legend(front: Front) -> Iterator[str]:
    if not front.points:
        yield "No candidate was timed: there is no front to draw."
    else:
        yield "   ".join(f"{one.letter} {one.name}{_FATES[one.fate]}" for one in front.points)
        yield f"On the front: {', '.join(one.letter for one in front.line)}. A bar reaches up to the bound."
    for name, why in front.absent:
        yield f"Not drawn: {name}: {why}."


class _Canvas:
    """A grid of characters: the row 0 is the top."""

    def __init__(self, front: Front, width: int, drawn: Sequence[str]) -> None:
        self._front, self._width = front, width
        self._corner, self._upright, self._level, self._tick, self._bar, self._end, self._limit = drawn
        losses = [value for one in front.points for value in (one.drop, one.bound)]
        self._y, self._x = loss_axis(losses, front.limit), time_axis([one.ms for one in front.points])
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}

    def lines(self) -> Iterator[Text]:
        """Yield every line, from the top."""
        if self._front.limit is not None:
            self._draw_limit(self._row(self._front.limit))
        for one in self._front.points:
            self._draw_bar(one)
        for one in self._front.points:
            self._draw_letter(one)
        names = {self._row(tick): f"{tick:g}" for tick in self._y.ticks(4)}
        yield Text("DSC drop".rjust(_MARGIN), "dim")
        for row in range(_ROWS):
            yield self._line(row, names.get(row, ""))
        yield from self._below()

    def _line(self, row: int, name: str) -> Text:
        made = Text(f"{name:>{_MARGIN - 2}} {self._upright} ", "dim")
        for column in range(self._width):
            made.append(*self._cells.get((row, column), (" ", "")))
        made.rstrip()
        return made

    def _below(self) -> Iterator[Text]:
        level, names = [self._level] * self._width, [" "] * (self._width + _MARGIN + 1)
        for tick in self._x.ticks(5):
            column, text = self._column(tick), f"{tick:g}"
            level[column] = self._tick
            names[column + _MARGIN + 1 : column + _MARGIN + 1 + len(text)] = text
        yield Text(" " * (_MARGIN - 1) + self._corner + self._level + "".join(level), "dim")
        names[-2:] = "ms"
        yield Text("".join(names), "dim")

    def _draw_limit(self, row: int) -> None:
        words = f" limit of the bound {self._front.limit:g}"
        for column in range(self._width - len(words)):
            self._cells[row, column] = (self._limit, "dim")
        for place, char in enumerate(words):
            self._cells[row, self._width - len(words) + place] = (char, "dim")

    def _draw_bar(self, one: Point) -> None:
        column, top = self._column(one.ms), self._row(one.bound)
        for row in range(top, self._row(one.drop)):
            self._cells[row, column] = (self._end if row == top else self._bar, "")

    def _draw_letter(self, one: Point) -> None:
        row, column = self._row(one.drop), self._column(one.ms)
        while self._cells.get((row, column), (" ", ""))[0].isalpha() and column < self._width - 1:
            column += 1  # two in one place stand side by side
        self._cells[row, column] = (one.letter, "bold" if one.fate == "kept" else "")

    def _row(self, value: float) -> int:
        return min(max(round((1 - float(self._y.place(np.array(value)))) * (_ROWS - 1)), 0), _ROWS - 1)

    def _column(self, value: float) -> int:
        return round(float(self._x.place(np.array(value))) * (self._width - 1))
