"""The front as a picture: latency against what masks lose, the area of a mark for memory. Needs Matplotlib.

No window, no display and no settings of the person's own: the same outcome gives the same SVG, byte for byte. Colours
are those of Okabe and Ito, which people who see fewer colours tell apart; every colour has a shape of its own too.
"""

import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.errors import UsageError
from ..runtime.files import write_atomic
from .axes import Axis, loss_axis, time_axis
from .front import Front, Point
from .label_places import Anchor, Rect, placed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png")
_STYLES = {
    "reference": ("#000000", "s", "float32"),
    "kept": ("#0072B2", "o", "kept"),
    "passed": ("#009E73", "D", "passed, another is faster"),
    "refused": ("#D55E00", "X", "refused"),
}
_LIMIT, _QUIET, _LINE = "#CC79A7", "#555555", "#56B4E9"
_INCHES, _DPI = (8.0, 6.2), 100
_AREA, _SMALLEST = 260.0, 36.0
"""Square points of the largest mark, and of one without a figure."""
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "medsam-edge",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.linewidth": 0.8,
}


def check_path(path: Path) -> Path:
    """Return a path whose ending names a format.

    Raises:
        UsageError: It does not.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"a picture's name that ends in {' or '.join(FORMATS)}", str(path), "choose one of them")
    return path


def write_picture(front: Front, title: str, path: Path) -> Path:
    """Draw a front with at least one point, and write it whole or not at all.

    Raises:
        UsageError: The path's ending names no format.
        StorageError: It cannot be written.
    """
    import matplotlib as mpl

    kind = check_path(path).suffix.lower().removeprefix(".")
    data = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        metadata = {"Date": None} if kind == "svg" else {}
        drawn(front, title).savefig(data, format=kind, metadata=metadata)
    write_atomic(path, data.getvalue())
    return path


def drawn(front: Front, title: str) -> "Figure":
    """Draw two panels above each other: the mean over all masks with its bound, and the worst modality."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI)
    FigureCanvasAgg(figure)
    notes = [line for name, why in front.absent for line in wrap(f"Not drawn: {name}: {why}", 110)]
    foot = 0.125 + 0.026 * len(notes)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    figure.subplots_adjust(left=0.1, right=0.975, top=0.865, bottom=foot + 0.075, hspace=0.25)
    figure.text(0.1, 0.965, title, fontsize=12, fontweight="bold", va="center")
    figure.text(
        0.1, 0.925, "Lower left is better. Bars reach up to the one-sided 95 % bound.", color=_QUIET, va="center"
    )
    figure.text(0.1, 0.015, "\n".join(notes), color=_QUIET, va="bottom", linespacing=1.3, parse_math=False)
    _panel(
        upper, front.points, [(one.drop, one.bound) for one in front.points], front.limit, "mean DSC drop of all masks"
    )
    _panel(
        lower,
        front.points,
        [(one.worst, one.worst) for one in front.points],
        front.worst_limit,
        "mean DSC drop of the worst modality",
    )
    lower.set_xlabel("encoder latency, median, ms")
    _front_line(upper, front)
    _legend(figure, front, foot)
    _labels(upper, front)
    return figure


def _panel(
    axes: "Axes", points: Sequence[Point], losses: Sequence[tuple[float, float]], limit: float | None, name: str
) -> None:
    time, loss = time_axis([one.ms for one in points]), loss_axis([each for pair in losses for each in pair], limit)
    axes.set_yscale("function", functions=(loss.place, loss.value))
    axes.set(xlim=(time.low, time.high), ylim=(loss.low, loss.high))
    axes.set_title(name + (" (logarithmic above the limit)" if loss.knee else ""), loc="left", fontsize=9)
    axes.minorticks_off()
    axes.set_yticks(*_ticks(loss))
    axes.set_xticks(*_ticks(time, 8))
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if limit is not None:
        axes.axhline(limit, color=_LIMIT, linestyle=(0, (6, 3)), linewidth=1.4)
        word: dict[str, Any] = {
            "xy": (0.995, limit),
            "xycoords": axes.get_yaxis_transform(),
            "textcoords": "offset points",
        }
        axes.annotate(f"limit {limit:g}", xytext=(0, 3), ha="right", va="bottom", color="#9A4C7C", **word)
    for one, (drop, bound) in zip(points, losses, strict=True):
        _mark(axes, one, drop, bound, _largest(points))


def _ticks(axis: Axis, count: int = 5) -> tuple[list[float], list[str]]:
    found = axis.ticks(count)
    return list(found), [f"{tick:g}" for tick in found]


def _mark(axes: "Axes", one: Point, drop: float, bound: float, largest: float) -> None:
    color, shape, _ = _STYLES[one.fate]
    if bound > drop:
        bar: dict[str, Any] = {
            "ecolor": color,
            "elinewidth": 1.6,
            "capsize": 4,
            "capthick": 1.6,
            "fmt": "none",
            "zorder": 2.5,
            "clip_on": False,
        }
        axes.errorbar(one.ms, drop, yerr=np.array([[0.0], [bound - drop]]), **bar)
    area = _area(one, largest)
    axes.scatter(
        one.ms, drop, s=area, c=color, marker=shape, edgecolors="white", linewidths=0.8, zorder=3, clip_on=False
    )


def _largest(points: Sequence[Point]) -> float:
    return max((one.memory_mb or 0.0 for one in points), default=0.0)


def _area(one: Point, largest: float) -> float:
    return max(_AREA * one.memory_mb / largest, _SMALLEST) if one.memory_mb and largest else _SMALLEST


def _front_line(axes: "Axes", front: Front) -> None:
    """Join the bounds of those that nothing beats, as steps: between two of them there is no third."""
    line = front.line
    axes.plot(
        [one.ms for one in line],
        [max(one.bound, 0.0) for one in line],
        color=_LINE,
        linewidth=1.6,
        drawstyle="steps-post",
        zorder=2,
    )


def _legend(figure: "Figure", front: Front, foot: float) -> None:
    from matplotlib.lines import Line2D

    fates = [fate for fate in _STYLES if fate in {one.fate for one in front.points}]
    shown = [_STYLES[fate] for fate in fates]
    style: dict[str, Any] = {"linestyle": "none", "markersize": 8, "markeredgecolor": "white"}
    marks = [Line2D([], [], color=color, marker=shape, label=name, **style) for color, shape, name in shown]
    marks.append(Line2D([], [], color=_LINE, linewidth=1.6, label="front, by the bounds"))
    figure.legend(handles=marks, loc="lower left", bbox_to_anchor=(0.09, foot - 0.075), ncols=len(marks), frameon=False)
    words = "Area of a mark: peak memory of a process with this encoder and decoder."
    figure.text(0.1, foot - 0.085, words, color=_QUIET, va="center")


def _labels(axes: "Axes", front: Front) -> None:
    """Name every point; all in points (1/72 inch) of the picture, which SVG and PNG share."""
    largest = _largest(front.points)
    sizes = [_text_size(axes, text) for text in map(_label, front.points)]
    middles = [_position(axes, one.ms, one.drop) for one in front.points]
    radii = [math.sqrt(_area(one, largest)) / 2 for one in front.points]
    anchors = [Anchor(*at, radius, *size) for at, radius, size in zip(middles, radii, sizes, strict=True)]
    box = axes.get_window_extent()
    scale = 72 / _DPI
    inside = Rect(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
    for one, anchor, rect in zip(
        front.points, anchors, placed(anchors, tuple(_taken(axes, front)), inside), strict=True
    ):
        _write(axes, one, anchor, rect)


def _write(axes: "Axes", one: Point, anchor: Anchor, rect: Rect) -> None:
    middle = ((rect.x0 + rect.x1) / 2 - anchor.x, (rect.y0 + rect.y1) / 2 - anchor.y)
    far = math.hypot(*middle) > anchor.radius + max(anchor.width, anchor.height) / 2 + 10
    line = {"arrowstyle": "-", "color": _QUIET, "linewidth": 0.7, "shrinkA": 0, "shrinkB": anchor.radius}
    axes.annotate(
        _label(one),
        (one.ms, one.drop),
        xytext=middle,
        textcoords="offset points",
        ha="center",
        va="center",
        fontweight="bold" if one.fate == "kept" else "normal",
        arrowprops=line if far else None,
        zorder=4,
        parse_math=False,
    )


def _label(one: Point) -> str:
    memory = "" if one.memory_mb is None else f"\n{one.memory_mb:.0f} MB"
    return f"{one.name}, {one.ms:.0f} ms{memory}"


def _taken(axes: "Axes", front: Front) -> Iterator[Rect]:
    """Yield what labels must leave free: bars, the front, the limit and its word."""
    for one in front.points:
        (x, low), (_, high) = _position(axes, one.ms, one.drop), _position(axes, one.ms, one.bound)
        yield Rect(x - 4, low, x + 4, high + 2)
    line = front.line
    for left, right in pairwise(line):
        (x0, y0), (x1, y1) = (_position(axes, one.ms, max(one.bound, 0.0)) for one in (left, right))
        yield Rect(x0, y0 - 2, x1, y0 + 2)
        yield Rect(x1 - 2, min(y0, y1), x1 + 2, max(y0, y1))
    if front.limit is not None:
        (x0, y), (x1, _) = (_position(axes, end, front.limit) for end in axes.get_xlim())
        yield Rect(x0, y - 2, x1, y + 2)
        yield Rect(x1 - 60, y, x1, y + 14)


def _position(axes: "Axes", x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y)) * (72 / _DPI)
    return float(across), float(up)


def _text_size(axes: "Axes", text: str) -> tuple[float, float]:
    """Width and height in points, of the bold form, which is the wider one."""
    made = axes.text(0, 0, text, fontweight="bold", parse_math=False)
    box = made.get_window_extent()
    made.remove()
    return box.width * 72 / _DPI + 4, box.height * 72 / _DPI + 2
