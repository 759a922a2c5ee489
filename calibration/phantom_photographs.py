"""Phantom endoscopy and dermoscopy: what a colour camera sees.

Highlights, hairs, ink and rulers lie over the objects or beside them, so that the most salient thing is
often not the one in the box. This module knows nothing of boxes, and nothing here is a lesion to learn
from: it only looks roughly like one.
"""

from collections.abc import Sequence

import numpy as np

from ..runtime.types import AnyArray
from .phantom_canvas import Canvas, canvas
from .phantom_shapes import Field, Outline, Outlines, Shape, arc, blob, lobes, organ, placed
from .phantom_textures import blur, radius, smooth, white


def tinted(field: Field, colour: Sequence[float]) -> Field:
    """float32 `(3, H, W)`: the field times a colour."""
    return field * np.asarray(colour, dtype=np.float32)[:, None, None]


def endoscopy(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Pink mucosa with folds, vessels, polyps and instruments, wet highlights and a dark rim."""
    mucosa = np.array([rng.uniform(0.6, 0.85), rng.uniform(0.28, 0.5), rng.uniform(0.22, 0.42)])
    sheet = canvas(rng, shape, (0.9, 1.2), 3.1, mucosa.tolist())
    sheet.image += tinted(0.05 * sheet.texture(), (1.0, 0.9, 0.8))
    _folds(sheet)
    for _ in range(int(rng.integers(1, 5))):
        _polyp(sheet, mucosa)
    if rng.random() < 0.35:
        _instrument(sheet)
    _highlights(sheet)
    photographed(sheet, rng.uniform(0.25, 0.8))
    return sheet


def _folds(sheet: Canvas) -> None:
    rng = sheet.rng
    lumen = rng.uniform(-0.7, 0.7, 2)
    depth = radius(sheet.shape, (float(lumen[0]), float(lumen[1]))) + 0.08 * smooth(rng, sheet.shape, 4)
    waves = np.sin(rng.uniform(8, 20) * np.sqrt(depth.clip(0.01))) * rng.uniform(0.02, 0.1)
    dark = 1 - rng.uniform(0.4, 0.9) * np.exp(-((depth / rng.uniform(0.15, 0.4)) ** 2))
    sheet.image = (sheet.image + waves) * dark
    vessels = _scattered(rng, arc(rng, rng.uniform(0.2, 1.2), 0.02), int(rng.integers(3, 9)), (0.2, 0.5))
    sheet.paint(sheet.region(vessels), (0.55, 0.12, 0.12), opacity=rng.uniform(0.2, 0.5), fuzz=0.7)


def _scattered(rng: np.random.Generator, outline: Outline, count: int, sizes: tuple[float, float]) -> Outlines:
    """Copies of one outline all over the image."""
    spots, turns = rng.uniform(-1, 1, (count, 2)), rng.uniform(0, 2 * np.pi, count)
    scales = rng.uniform(*sizes, count)
    return [placed([outline], *where)[0] for where in zip(spots, scales, turns, strict=True)]


def _polyp(sheet: Canvas, mucosa: AnyArray) -> None:
    """A lobed swelling: another hue, lit from one side, with a shadow on the other."""
    rng = sheet.rng
    size, spot = rng.uniform(0.12, 0.45), rng.uniform(-0.55, 0.55, 2)
    outlines = placed(organ(rng), spot, size)
    where = sheet.region(outlines)
    offset = rng.normal(0, 0.03, 2)
    sheet.paint(sheet.region(placed(outlines, offset)), mucosa * 0.45, opacity=0.7, fuzz=2.5)
    tint = mucosa * rng.uniform(0.75, 1.15, 3) + rng.choice([-0.16, 0.14])
    slope = np.linspace(-0.12, 0.12, where.cover.shape[1], dtype=np.float32)
    light = 0.25 * (blur(where.cover, 4) - 0.6) + slope + 0.04 * sheet.texture()[where.window]
    sheet.paint(where, tint[:, None, None] + light, fuzz=rng.uniform(0.3, 1.2))
    sheet.claim(where)


def _instrument(sheet: Canvas) -> None:
    rng = sheet.rng
    turn = rng.uniform(0, 2 * np.pi)
    spot = (0.75 * np.cos(turn), 0.75 * np.sin(turn))
    tool = placed([arc(rng, 0.1, rng.uniform(0.1, 0.2))], spot, rng.uniform(0.4, 0.7), turn + rng.uniform(-0.5, 0.5))
    where = sheet.region(tool)
    shade = rng.choice([0.2, 0.6]) + 0.15 * np.sin(np.arange(where.cover.shape[1], dtype=np.float32) / 5)
    sheet.paint(where, tinted(np.broadcast_to(shade, where.cover.shape), (0.95, 1.0, 1.05)))
    sheet.claim(where)


def _highlights(sheet: Canvas) -> None:
    rng = sheet.rng
    for _ in range(2):
        glint = blob(rng, 0.4) * (1, rng.uniform(0.3, 1))
        glints = sheet.region(_scattered(rng, glint, int(rng.integers(3, 13)), (0.006, 0.035)))
        sheet.paint(glints, (1.0, 0.98, 0.95), opacity=rng.uniform(0.5, 1), fuzz=0.5)


def photographed(sheet: Canvas, vignette: float) -> None:
    """Vignette, white balance, blur and noise."""
    rng = sheet.rng
    fall = 1 - vignette * np.clip(radius(sheet.shape) - 0.45, 0, 1)
    balance = rng.uniform(0.92, 1.08, 3).tolist()
    image = blur(sheet.image, rng.uniform(0.3, 1.0)) * tinted(fall, balance)
    sheet.image = image + rng.uniform(0.005, 0.025) * white(rng, sheet.shape)


def dermoscopy(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Skin with irregular pigmented lesions, under hairs, a ruler and at times the rim of the lens."""
    tone = rng.uniform(0.0, 1.0)
    skin = np.array([0.85, 0.68, 0.58]) * (1 - tone) + np.array([0.6, 0.42, 0.33]) * tone
    sheet = canvas(rng, shape, (0.9, 1.15), 3.1, skin.tolist())
    sheet.image += tinted(0.03 * sheet.texture(), (1.0, 1.0, 0.9))
    _marks(sheet)
    for index in range(int(rng.choice([1, 1, 2, 3]))):
        _lesion(sheet, skin, rng.uniform(0.3, 0.6) if index == 0 else rng.uniform(0.08, 0.25))
    _hairs(sheet)
    photographed(sheet, rng.uniform(0.0, 0.6))
    if rng.random() < 0.25:
        rim = np.clip((1.12 - radius(shape)) * 8, 0, 1)
        sheet.image *= rim
    return sheet


def _lesion(sheet: Canvas, skin: AnyArray, size: float) -> None:
    rng = sheet.rng
    spread = 0.15 if size > 0.3 else 0.7
    spot = rng.uniform(-spread, spread, 2)
    shape = [*lobes(rng), blob(rng, 0.3) * 0.4] if rng.random() < 0.5 else organ(rng)
    where = sheet.region(placed(shape, spot, size, rng.uniform(0, 6)))
    pigment = skin * np.array([0.62, 0.5, 0.45]) ** rng.uniform(0.45, 1.6)
    network = 0.04 * np.sin(6 * sheet.texture()[where.window]) + 0.07 * sheet.texture()[where.window]
    sheet.paint(where, pigment[:, None, None] + tinted(network, (1.0, 0.8, 0.7)), fuzz=rng.uniform(0.5, 3))
    sheet.claim(where)
    for _ in range(int(rng.integers(0, 5))):  # globules and paler regression, part of the lesion
        offset = rng.normal(0, 0.3 * size, 2) + spot
        dot = sheet.region(placed([blob(rng, 0.3)], offset, size * rng.uniform(0.05, 0.2)))
        presence = blur(sheet.objects[-1][dot.window].astype(np.float32), 1)  # detail stays inside
        patch = dot.cover * presence
        sheet.image[dot.window] *= 1 - patch * rng.uniform(-0.15, 0.4)


def _marks(sheet: Canvas) -> None:
    """A ruler's ticks, a colour chart or a drop of ink: salient, and never an object."""
    rng = sheet.rng
    if rng.random() < 0.4:
        ticks = [placed([arc(rng, 0, 0.12)], (x, 0.88), 0.05, np.pi / 2)[0] for x in np.arange(-0.9, 0.9, 0.12)]
        sheet.paint(sheet.region(ticks), 0.15)
    if rng.random() < 0.3:
        spot = rng.uniform(-0.9, 0.9, 2)
        colour = rng.uniform(0.1, 0.9, 3).tolist()
        sheet.paint(sheet.region(placed([blob(rng, 0.02)], spot, 0.3)), colour)


def _hairs(sheet: Canvas) -> None:
    rng = sheet.rng
    colour = (0.1, 0.07, 0.06) if rng.random() < 0.8 else (0.75, 0.65, 0.5)
    for count in rng.choice([0, 2, 4, 10], 2).tolist():
        if count:
            hairs = _scattered(rng, arc(rng, rng.uniform(0.1, 1.0), 0.012), count, (0.3, 0.9))
            sheet.paint(sheet.region(hairs), colour, opacity=rng.uniform(0.5, 0.95))
