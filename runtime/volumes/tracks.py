"""What is known of the objects of a volume between two slices, and the order in which slices are visited.

A few numbers per object, whatever the number of slices. It can be written down and taken up again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import AnyArray, Boxes, Masks
from .conventions import STOP, Convention
from .prompts import Prompt

UP, DOWN = 0, 1


@dataclass(frozen=True)
class Step:
    """A visit of a slice: going up, to higher slices, or down."""

    way: int
    index: int


def steps_of(prompts: Sequence[Prompt]) -> tuple[Step, ...]:
    """The visits that may be needed: all slices upwards from the lowest start, then downwards from the highest.

    Two passes serve all objects, wherever each starts: one embedding of a slice is shared by all that pass it.
    """
    up = sorted({index for one in prompts for index in range(one.start, one.last + 1)})
    down = sorted({index for one in prompts for index in range(one.first, one.start)}, reverse=True)
    return (*(Step(UP, index) for index in up), *(Step(DOWN, index) for index in down))


class Tracks:
    """Where every object is. Not for several threads.

    Args:
        prompts: The objects.
        convention: How a mask becomes the next slice's box.
        after_empty: Of `AFTER_EMPTY`.

    Attributes:
        boxes: float32 `(2, N, 4)`, the box for the next slice going up and going down.
        alive: uint8 `(2, N)`, whether the object goes on there.
        voxels: int64 `(N,)`, voxels of each object so far, those under later objects too.
        slices: int64 `(N,)`, slices with a mask.
    """

    def __init__(self, prompts: Sequence[Prompt], convention: Convention, after_empty: str) -> None:
        self._prompts, self._convention, self._after_empty = prompts, convention, after_empty
        self._limits = np.array([(one.first, one.start, one.last) for one in prompts], np.int64)
        self._given = np.array([one.box for one in prompts], np.float32)
        self.boxes = np.stack([self._given, self._given])
        self.alive = np.ones((2, len(prompts)), np.uint8)
        self.voxels, self.slices = (np.zeros(len(prompts), np.int64) for _ in range(2))

    @property
    def arrays(self) -> tuple[AnyArray, ...]:
        """Everything that changes, in a fixed order; writing into them takes up an earlier state."""
        return self.boxes, self.alive, self.voxels, self.slices

    def at(self, step: Step) -> AnyArray:
        """The objects, numbered from 0, that have to be drawn at a step."""
        first, start, last = self._limits.T
        within = (start <= step.index) & (step.index <= last)
        if step.way == DOWN:
            within = (first <= step.index) & (step.index < start)
        return np.flatnonzero(within & (self.alive[step.way] > 0))

    def boxes_at(self, step: Step, which: AnyArray) -> Boxes:
        """The boxes of these objects, float32 `(n, 4)`."""
        boxes: Boxes = self.boxes[step.way, which]
        return boxes

    def update(self, step: Step, which: AnyArray, masks: Masks) -> None:
        """Note what was drawn, bool `(n, rows, columns)`."""
        for one, mask in zip(which, masks, strict=True):
            box = self._convention.next_box(mask)
            ways = [UP, DOWN] if step.index == self._prompts[one].start else [step.way]
            ends = box is None and self._after_empty == STOP
            self.boxes[ways, one] = self._given[one] if box is None else box
            self.alive[ways, one] = not ends
            self.voxels[one] += np.count_nonzero(mask)
            self.slices[one] += box is not None
