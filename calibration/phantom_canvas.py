"""The sheet that a phantom is painted on: it keeps the picture and what is still visible of each object.

Painting covers what was there before, in the picture and in the masks alike; a transparent layer (X-ray)
adds to the picture and covers nothing. Scenes speak in body units: the frame turns (x, y) of about -1 to 1
into pixels, with a random zoom, turn and mirror. This module knows nothing of particular modalities or of
boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ..runtime.types import AnyArray, Mask
from .phantom_shapes import Field, Outline, Outlines, Region, Shape, placed, region
from .phantom_textures import blur, cloud

Level: TypeAlias = float | Sequence[float] | AnyArray


@dataclass
class Canvas:
    """A picture under construction.

    Attributes:
        rng: Source of all randomness.
        image: float32 `(H, W)`, or `(3, H, W)` for colour, nominally 0 to 1.
        zoom: Pixels per body unit over half the shorter side.
        angle: Turn of the body, radians.
        centre: Pixel (x, y) of the body's origin.
        mirror: -1 where left and right are swapped, else 1.
        objects: Visible bool `(H, W)` mask of each object so far.
        areas: Pixels of each object before anything covered it.
    """

    rng: np.random.Generator
    image: Field
    zoom: float = 1.0
    angle: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    mirror: int = 1
    objects: list[Mask] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    _grain: Field | None = None

    @property
    def shape(self) -> Shape:
        """Height and width in pixels."""
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def unit(self) -> float:
        """Pixels per body unit."""
        return self.zoom * min(self.shape) / 2

    def texture(self) -> Field:
        """float32 `(H, W)`, about unit variance: the scene's one texture, mirrored at random for each use."""
        if self._grain is None:
            self._grain = cloud(self.rng, self.shape, self.rng.uniform(5, 18))
        flips = int(self.rng.integers(4))
        return self._grain[:: 1 - 2 * (flips % 2), :: 1 - 2 * (flips // 2)]

    def region(self, solids: Sequence[Outline], holes: Sequence[Outline] = ()) -> Region:
        """The pixels that outlines in body units cover."""
        return region(self.shape, self._pixels(solids), self._pixels(holes))

    def _pixels(self, outlines: Sequence[Outline]) -> Outlines:
        return placed(outlines, self.centre, (self.mirror * self.unit, self.unit), self.angle)

    def paint(self, where: Region, level: Level, opacity: float = 1.0, fuzz: float = 0.0) -> None:
        """Cover a region with a level: a number, a colour, or a field of its window or of the image."""
        patch = self.image[where.window]
        target = np.asarray(level, dtype=np.float32)
        if target.ndim == 1:
            target = target[:, None, None]
        if target.shape[-2:] == self.shape:
            target = target[where.window]
        patch += blur(where.cover, fuzz) * np.float32(opacity) * (target - patch)

    def add(self, where: Region, amount: float | AnyArray) -> None:
        """Lay a transparent layer over a region: levels add up, nothing is covered."""
        self.image[where.window] += where.cover * np.asarray(amount, dtype=np.float32)

    def hide(self, where: Region) -> None:
        """Take a region away from every object so far, because something was painted over it."""
        outside = ~where.inside
        for mask in self.objects:
            mask[where.window] &= outside

    def claim(self, where: Region, covers: bool = True) -> None:
        """Make a region an object; unless it is transparent, it covers the objects before it."""
        if covers:
            self.hide(where)
        self.objects.append(where.mask(self.shape))
        self.areas.append(int(where.inside.sum()))


def canvas(
    rng: np.random.Generator, shape: Shape, zoom: tuple[float, float], turn: float, level: Level = 0.0
) -> Canvas:
    """An empty canvas with a random frame.

    Args:
        rng: Source of all randomness.
        shape: Height and width in pixels.
        zoom: Range of the zoom.
        turn: Largest turn of the body, radians.
        level: Background: a number, or a colour for an RGB canvas.
    """
    ground = np.asarray(level, dtype=np.float32)
    image = np.broadcast_to(ground.reshape(-1, 1, 1) if ground.ndim else ground, (*ground.shape, *shape)).copy()
    scale = float(rng.uniform(*zoom))
    middle = np.array([shape[1], shape[0]]) / 2 + rng.uniform(-0.06, 0.06, 2) * min(shape) * scale
    return Canvas(
        rng,
        image,
        scale,
        float(rng.uniform(-turn, turn)),
        (float(middle[0]), float(middle[1])),
        int(rng.choice([-1, 1])),
    )
