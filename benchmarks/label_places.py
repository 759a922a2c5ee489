"""Finds places for the labels of points, so that none covers a point, a line or another label. Geometry alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

_DISTANCES = (1.0, 1.8, 2.8, 4.0, 5.5, 7.5, 10.0)
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225)


@dataclass(frozen=True)
class Rect:
    """A rectangle with sides along the axes, in any unit; y upwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def shared(self, other: "Rect") -> float:
        """Area that both cover."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return wide * high if wide > 0 and high > 0 else 0.0

    def gap(self, point: "Anchor") -> float:
        """Distance from a point's middle."""
        return math.hypot(max(self.x0 - point.x, 0, point.x - self.x1), max(self.y0 - point.y, 0, point.y - self.y1))

    @property
    def area(self) -> float:
        """Width by height."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Anchor:
    """A point that has a label: its middle, its radius, and the label's size."""

    x: float
    y: float
    radius: float
    width: float
    height: float


def placed(anchors: Sequence[Anchor], taken: Sequence[Rect], inside: Rect) -> tuple[Rect, ...]:
    """Place the labels one after the other, near their points, where they cover least.

    Args:
        anchors: The points; none of them is covered by any label, where that can be helped.
        taken: What else must not be covered.
        inside: Where labels have to be.

    Returns:
        For each anchor the rectangle of its label.
    """
    points = [Rect(one.x - one.radius, one.y - one.radius, one.x + one.radius, one.y + one.radius) for one in anchors]
    found: list[Rect] = []
    for own, anchor in enumerate(anchors):
        others, rivals = (*taken, *points, *found), (*anchors[:own], *anchors[own + 1 :])
        cost = partial(_cost, anchor=anchor, rivals=rivals, others=others, inside=inside)
        found.append(min(_candidates(anchor), key=cost))
    return tuple(found)


def _cost(
    rect: Rect, anchor: Anchor, rivals: Sequence[Anchor], others: Sequence[Rect], inside: Rect
) -> tuple[float, bool]:
    """What a label covers, rounded, then whether it seems to belong to another point: of equals the first is taken."""
    covered = sum(map(rect.shared, others)) + rect.area - rect.shared(inside)
    return round(covered, 3), any(rect.gap(one) < rect.gap(anchor) + 2 for one in rivals)


def _candidates(anchor: Anchor) -> Iterator[Rect]:
    for distance in _DISTANCES:
        gap = anchor.radius + 4.0 * distance
        for angle in _ANGLES:
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            x = anchor.x + across * (gap + anchor.width / 2)
            y = anchor.y + up * (gap + anchor.height / 2)
            yield Rect(x - anchor.width / 2, y - anchor.height / 2, x + anchor.width / 2, y + anchor.height / 2)
