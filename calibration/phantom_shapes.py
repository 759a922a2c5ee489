"""Outlines of organ-like shapes, and the regions of pixels that they cover.

Most outlines are deliberately far from the ellipse that fills its box: lobes, beans, crescents, bent bars,
hooks. An outline is float `(K, 2)`, columns x and y, about one unit in radius around the origin; a list of
outlines is their union. A `Region` is what a union covers in an image, kept as a small crop so that fifty
nuclei stay cheap. This module knows nothing of grey levels, modalities or cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import ImageDraw

from ..runtime.types import Mask

Field: TypeAlias = npt.NDArray[np.float32]
Outline: TypeAlias = npt.NDArray[np.float64]  # (K, 2), x and y
Outlines: TypeAlias = list[Outline]  # their union
Shape: TypeAlias = tuple[int, int]  # height, width

_TURN = np.linspace(0, 2 * np.pi, 72, endpoint=False)
_SUPERSAMPLING = 2  # polygons are drawn this much larger, so that edges are not stairs
_MARGIN = 4  # pixels around a crop, room for a soft border


@dataclass(frozen=True)
class Region:
    """A crop of the image with the share of each pixel that the shape covers.

    Attributes:
        top: First row of the crop in the image.
        left: First column of the crop in the image.
        cover: float32 `(h, w)`, 0 to 1.
    """

    top: int
    left: int
    cover: Field

    @property
    def window(self) -> tuple[EllipsisType, slice, slice]:
        """The crop as an index into an image `(H, W)` or `(3, H, W)`."""
        height, width = self.cover.shape
        return ..., slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def inside(self) -> Mask:
        """bool `(h, w)`: the pixels that are mostly covered."""
        return self.cover >= 0.5

    def mask(self, shape: Shape) -> Mask:
        """bool `(H, W)` in an image of that shape."""
        full = np.zeros(shape, dtype=bool)
        full[self.window] = self.inside
        return full


def blob(rng: np.random.Generator, roughness: float = 0.3) -> Outline:
    """A star-shaped outline with low harmonics; roughness 0 gives the circle."""
    orders = np.arange(2, 6)[:, None]
    phases = rng.uniform(0, 2 * np.pi, (4, 1))
    amplitudes = rng.normal(0, roughness, (4, 1)) / np.sqrt(orders)
    radius = np.clip(1 + (amplitudes * np.cos(orders * _TURN + phases)).sum(0), 0.35, 1.7)
    return np.stack((radius * np.cos(_TURN), radius * np.sin(_TURN)), axis=1)


def bean(rng: np.random.Generator) -> Outline:
    """A kidney: an elongated outline with a hilum on its right side."""
    depth, width = rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.7)
    turn = np.angle(np.exp(1j * _TURN))
    radius = 1 - depth * np.exp(-((turn / width) ** 2)) + 0.05 * np.cos(3 * _TURN + rng.uniform(0, 6))
    return np.stack((rng.uniform(0.5, 0.7) * radius * np.cos(_TURN), radius * np.sin(_TURN)), axis=1)


def wedge(rng: np.random.Generator) -> Outline:
    """A rounded triangle, as a liver or a lung is."""
    corners = np.sort(rng.uniform(-0.5, 0.5, 3)) + np.array([0.0, 2.1, 4.2])
    radius = 0.6 + sum(0.5 * np.exp(-((np.angle(np.exp(1j * (_TURN - c))) / 0.6) ** 2)) for c in corners)
    return np.stack((radius * np.cos(_TURN), radius * np.sin(_TURN)), axis=1)


def ribbon(spine: Outline, half_widths: Outline | float, roundness: float = 6.0) -> Outline:
    """The band around a spine, with rounded ends.

    Args:
        spine: float `(K, 2)`, the middle line.
        half_widths: One half width, or one per point of the spine.
        roundness: Large for the ends of a capsule, 2 for the points of a lens.
    """
    along = np.linspace(-1, 1, len(spine))
    profile = np.asarray(half_widths) * np.sqrt(np.clip(1 - np.abs(along) ** roundness, 0, 1))
    tangent = np.gradient(spine, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    normal = np.stack((-tangent[:, 1], tangent[:, 0]), axis=1) * profile[:, None]
    return np.concatenate((spine + normal, (spine - normal)[::-1]))


def arc(rng: np.random.Generator, bend: float, half_width: float, roundness: float = 6.0) -> Outline:
    """A bent bar of half length 1: a capsule at bend 0, a C at bend 2, a crescent where roundness is 2.

    Args:
        rng: Source of the taper.
        bend: Half the angle that the bar turns through, in radians.
        half_width: Half the bar's thickness.
        roundness: See `ribbon`.
    """
    along = np.linspace(-1, 1, 41)
    bend = max(abs(bend), 1e-3)
    spine = np.stack((np.sin(along * bend), np.cos(along * bend) - (1 + np.cos(bend)) / 2), axis=1)
    spine /= max(bend, np.sin(min(bend, np.pi / 2))) if bend < 1 else 1.0
    return ribbon(spine, half_width * (1 + rng.uniform(-0.35, 0.35) * along), roundness)


def hook(rng: np.random.Generator) -> Outline:
    """An L with a rounded elbow, as a stomach or a bowel loop is."""
    corners = np.array([[-0.7, -1.0], [-0.6, 0.7], [rng.uniform(0.5, 1.1), rng.uniform(0.4, 0.9)]])
    along = np.linspace(0, 1, 41)[:, None]
    spine = (1 - along) ** 2 * corners[0] + 2 * along * (1 - along) * corners[1] * 1.3 + along**2 * corners[2]
    return ribbon(spine, rng.uniform(0.2, 0.38) * (1 + rng.uniform(-0.4, 0.4) * (along[:, 0] - 0.5)))


def lobes(rng: np.random.Generator) -> Outlines:
    """Two to four blobs that grew together, with clefts between them."""
    count = int(rng.integers(2, 5))
    turns = np.cumsum(rng.uniform(0.9, 2.2, count))
    return [blob(rng, 0.15) * rng.uniform(0.4, 0.65) + 0.55 * np.array([np.cos(turn), np.sin(turn)]) for turn in turns]


def organ(rng: np.random.Generator) -> Outlines:
    """Any of the shapes above, about one unit in radius, at a random angle and stretch."""
    kind = int(rng.integers(7))
    if kind == 0:
        outlines: Outlines = [blob(rng, 0.4)]
    elif kind == 1:
        outlines = [bean(rng)]
    elif kind == 2:
        outlines = [wedge(rng)]
    elif kind == 3:
        outlines = [hook(rng)]
    elif kind == 4:
        outlines = lobes(rng)
    else:
        outlines = [arc(rng, rng.uniform(0.2, 1.6), rng.uniform(0.2, 0.4), rng.choice([2.0, 6.0]))]
    stretch = np.array([1.0, rng.uniform(0.6, 1.0)])
    return placed([outline * stretch for outline in outlines], angle=rng.uniform(0, 2 * np.pi))


def placed(
    outlines: Sequence[Outline],
    centre: npt.ArrayLike = (0.0, 0.0),
    scale: npt.ArrayLike = 1.0,
    angle: float = 0.0,
) -> Outlines:
    """The outlines scaled (x, y), then turned by `angle` radians, then moved to `centre` (x, y)."""
    turn = complex(np.cos(angle), np.sin(angle))  # no matrix product: BLAS would wake its threads for 72 points
    scales, offset = np.asarray(scale), np.asarray(centre)
    scaled = (np.ascontiguousarray(outline * scales).view(np.complex128) for outline in outlines)
    return [(points * turn).view(np.float64) + offset for points in scaled]


def region(shape: Shape, solids: Sequence[Outline], holes: Sequence[Outline] = ()) -> Region:
    """What the union of `solids` without `holes` covers, in pixels of an image `(H, W)`."""
    points = np.concatenate(list(solids))
    low = np.maximum(np.floor(points.min(0)).astype(int) - _MARGIN, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + _MARGIN, (shape[1], shape[0]))
    if (high <= low).any():
        return Region(0, 0, np.zeros((1, 1), np.float32))
    width, height = (high - low).tolist()
    sheet = PILImage.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    draw = ImageDraw.Draw(sheet)
    for outlines, ink in ((solids, 255), (holes, 0)):
        for outline in outlines:
            draw.polygon(((outline - low) * _SUPERSAMPLING).ravel().tolist(), fill=ink)
    cover: Field = np.asarray(sheet.reduce(_SUPERSAMPLING), dtype=np.float32)
    return Region(int(low[1]), int(low[0]), cover / np.float32(255))


def without(whole: Region, part: Mask) -> Region:
    """The region outside of `part`, a full-size bool `(H, W)` mask."""
    return Region(whole.top, whole.left, whole.cover * ~part[whole.window])


def within(whole: Region, part: Mask) -> Region:
    """The region inside of `part`, a full-size bool `(H, W)` mask."""
    return Region(whole.top, whole.left, whole.cover * part[whole.window])
