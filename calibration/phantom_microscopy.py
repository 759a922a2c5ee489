"""Phantom microscopy: fluorescent nuclei, stained tissue, rods in transmitted light.

Dozens of cells, half of them in clusters, so that neighbours touch and cover each other; all may get a box,
few do. This module knows nothing of boxes, and nothing here is a cell to learn from: it only looks roughly
like one.
"""

import numpy as np

from .phantom_canvas import Canvas, canvas
from .phantom_photographs import photographed, tinted
from .phantom_shapes import Field, Outlines, Shape, arc, bean, blob, lobes, placed
from .phantom_textures import blur, smooth, white


def microscopy(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Crowded nuclei: fluorescent on black, or purple in pink tissue; or bent, rod-like cells."""
    style = int(rng.choice(3, p=(0.5, 0.3, 0.2)))
    if style == 0:
        sheet = _fluorescence(rng, shape)
    elif style == 1:
        sheet = _stained(rng, shape)
    else:
        sheet = _rods(rng, shape)
    if rng.random() < 0.1:
        sheet.image = 1 - sheet.image
    return sheet


def _nucleus(rng: np.random.Generator) -> Outlines:
    """Mostly oval and oblique, at times a bean or lobed; about one unit in radius."""
    kind = rng.random()
    if kind < 0.45:
        outlines = [blob(rng, 0.12) * (1, rng.uniform(0.4, 0.7))]
    elif kind < 0.65:
        outlines = [bean(rng)]
    elif kind < 0.8:
        outlines = lobes(rng)
    else:
        outlines = [arc(rng, rng.uniform(0.1, 0.9), rng.uniform(0.3, 0.45), 3.0)]
    return placed(outlines, angle=rng.uniform(0.2, 1.37) + rng.integers(4) * np.pi / 2)


def _places(rng: np.random.Generator, count: int) -> Field:
    """`(count, 2)` places, half of them in clusters so that nuclei touch."""
    free = rng.uniform(-1.1, 1.1, (count, 2))
    seeds = free[rng.integers(0, max(count // 5, 1), count)]
    near = seeds + rng.normal(0, 0.15, (count, 2))
    return np.where(rng.random((count, 1)) < 0.5, near, free)


def _fluorescence(rng: np.random.Generator, shape: Shape) -> Canvas:
    dark = rng.uniform(0.01, 0.12)
    sheet = canvas(rng, shape, (0.9, 1.1), 0, dark)
    sheet.image += 0.02 * smooth(rng, shape, 3)
    size, bright = rng.uniform(0.05, 0.17), rng.uniform(0.3, 0.8)
    grain = rng.uniform(0.02, 0.12) * sheet.texture()
    for place in _places(rng, int(np.clip(0.35 / size**2, 12, 45))):
        where = sheet.region(placed(_nucleus(rng), place, size * rng.uniform(0.75, 1.35)))
        level = max(bright * rng.uniform(0.5, 1.3), dark + 0.2)
        sheet.paint(where, level * (1 + grain[where.window]), opacity=0.93)
        sheet.claim(where)
    glow = blur(sheet.image, rng.uniform(0.4, 1.6))
    sheet.image = glow + rng.uniform(0.005, 0.04) * white(rng, shape)
    return sheet


def _stained(rng: np.random.Generator, shape: Shape) -> Canvas:
    ground = np.array([rng.uniform(0.82, 0.95), rng.uniform(0.6, 0.82), rng.uniform(0.75, 0.88)])
    sheet = canvas(rng, shape, (0.9, 1.1), 0, ground.tolist())
    stroma = rng.uniform(0.01, 0.07) * np.sin(4 * smooth(rng, shape, 5)) + 0.05 * sheet.texture()
    sheet.image += tinted(stroma, (0.5, 1.0, 0.6))
    size = rng.uniform(0.06, 0.16)
    chromatin = 0.06 * sheet.texture()
    for place in _places(rng, int(np.clip(0.3 / size**2, 10, 40))):
        purple = np.array([0.42, 0.28, 0.58]) * rng.uniform(0.75, 1.35)
        where = sheet.region(placed(_nucleus(rng), place, size * rng.uniform(0.75, 1.3)))
        sheet.paint(where, purple[:, None, None] + chromatin[where.window], fuzz=rng.uniform(0, 0.7))
        sheet.claim(where)
    photographed(sheet, rng.uniform(0, 0.2))
    return sheet


def _rods(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Transmitted light: grey rods with a halo."""
    ground = rng.uniform(0.45, 0.75)
    sheet = canvas(rng, shape, (0.9, 1.1), 0, ground)
    sheet.image += 0.05 * smooth(rng, shape, 2)
    size, step = rng.uniform(0.1, 0.22), rng.choice([-1, 1]) * rng.uniform(0.15, 0.3)
    for place in _places(rng, int(np.clip(0.5 / size**2, 10, 40))):
        angle = rng.uniform(0.25, 1.3) + rng.integers(4) * np.pi / 2
        rod = placed([arc(rng, rng.uniform(0.05, 1.2), rng.uniform(0.22, 0.4))], place, size, angle)
        where, halo = sheet.region(rod), sheet.region([o * 1.2 - 0.2 * o.mean(0) for o in rod])
        sheet.paint(halo, ground - step * 0.6, opacity=0.6, fuzz=1)
        sheet.paint(where, ground + step * rng.uniform(0.7, 1.2))
        sheet.claim(where)
    noise = rng.uniform(0.01, 0.04) * white(rng, shape)
    sheet.image = blur(sheet.image, rng.uniform(0.4, 1.2)) + noise
    return sheet
