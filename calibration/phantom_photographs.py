"""Phantom endoscopy, dermoscopy and microscopy: what a colour camera sees.

This module knows nothing of boxes, and nothing here is a lesion or a cell to learn from: it only looks like one.
"""

import numpy as np

from .phantom_canvas import Canvas, canvas
from .phantom_shapes import Field, Outlines, Shape, arc, bean, blob, lobes, organ, placed
from .phantom_textures import blur, cloud, radius, smooth, white


def _tinted(field: Field, colour: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Field:
    return field[..., None] * np.asarray(colour, dtype=np.float32)


def endoscopy(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Pink mucosa with folds, vessels, polyps and instruments, wet highlights and a dark rim."""
    mucosa = np.array([rng.uniform(0.6, 0.85), rng.uniform(0.28, 0.5), rng.uniform(0.22, 0.42)])
    sheet = canvas(rng, shape, (0.9, 1.2), 3.1, mucosa.tolist())
    sheet.image += _tinted(0.05 * cloud(rng, shape, 5), (1.0, 0.9, 0.8))
    _folds(sheet)
    for _ in range(int(rng.integers(1, 5))):
        _polyp(sheet, mucosa)
    if rng.random() < 0.35:
        _instrument(sheet)
    _highlights(sheet)
    _camera(sheet, rng.uniform(0.25, 0.8))
    return sheet


def _folds(sheet: Canvas) -> None:
    rng = sheet.rng
    lumen = rng.uniform(-0.7, 0.7, 2)
    depth = radius(sheet.shape, (float(lumen[0]), float(lumen[1]))) + 0.08 * smooth(rng, sheet.shape, 4)
    waves = np.sin(rng.uniform(8, 20) * np.sqrt(depth.clip(0.01))) * rng.uniform(0.02, 0.1)
    dark = 1 - rng.uniform(0.4, 0.9) * np.exp(-((depth / rng.uniform(0.15, 0.4)) ** 2))
    sheet.image = (sheet.image + _tinted(waves)) * _tinted(dark.astype(np.float32))
    for _ in range(int(rng.integers(3, 9))):
        spot = tuple(rng.uniform(-0.9, 0.9, 2))
        vessel = placed(
            [arc(rng, rng.uniform(0.2, 1.2), 0.02)],
            (spot[0], spot[1]),
            rng.uniform(0.2, 0.5),
            rng.uniform(0, 6),
        )
        sheet.paint(sheet.region(vessel), (0.55, 0.12, 0.12), opacity=rng.uniform(0.2, 0.5), fuzz=0.7)


def _polyp(sheet: Canvas, mucosa: Field) -> None:
    """A lobed swelling: another hue, lit from one side, with a shadow on the other."""
    rng = sheet.rng
    size, spot = rng.uniform(0.12, 0.45), tuple(rng.uniform(-0.55, 0.55, 2))
    outlines = placed(organ(rng), (spot[0], spot[1]), size)
    where = sheet.region(outlines)
    offset = tuple(rng.normal(0, 0.03, 2))
    sheet.paint(sheet.region(placed(outlines, (offset[0], offset[1]))), mucosa * 0.45, opacity=0.7, fuzz=2.5)
    tint = mucosa * rng.uniform(0.75, 1.15, 3) + rng.choice([-0.16, 0.14])
    light = 0.25 * (blur(where.cover, 4) - 0.6) + np.linspace(
        -0.12, 0.12, where.cover.shape[1], dtype=np.float32
    )
    texture = light + 0.04 * cloud(rng, sheet.shape, 18)[where.window]
    sheet.paint(where, tint.astype(np.float32) + _tinted(texture), fuzz=rng.uniform(0.3, 1.2))
    sheet.claim(where)


def _instrument(sheet: Canvas) -> None:
    rng = sheet.rng
    turn = rng.uniform(0, 2 * np.pi)
    spot = (0.75 * np.cos(turn), 0.75 * np.sin(turn))
    tool = placed(
        [arc(rng, 0.1, rng.uniform(0.1, 0.2))], spot, rng.uniform(0.4, 0.7), turn + rng.uniform(-0.5, 0.5)
    )
    where = sheet.region(tool)
    shade = rng.choice([0.2, 0.6]) + 0.15 * np.sin(np.arange(where.cover.shape[1], dtype=np.float32) / 5)
    sheet.paint(where, _tinted(np.broadcast_to(shade, where.cover.shape), (0.95, 1.0, 1.05)))
    sheet.claim(where)


def _highlights(sheet: Canvas) -> None:
    rng = sheet.rng
    for _ in range(int(rng.integers(6, 25))):
        spot = tuple(rng.uniform(-0.9, 0.9, 2))
        glint = placed(
            [blob(rng, 0.4)], (spot[0], spot[1]), tuple(rng.uniform(0.006, 0.035, 2)), rng.uniform(0, 6)
        )
        sheet.paint(sheet.region(glint), (1.0, 0.98, 0.95), opacity=rng.uniform(0.5, 1), fuzz=0.5)


def _camera(sheet: Canvas, vignette: float) -> None:
    """Vignette, white balance, blur and noise."""
    rng = sheet.rng
    fall = 1 - vignette * np.clip(radius(sheet.shape) - 0.45, 0, 1)
    balance = rng.uniform(0.92, 1.08, 3).astype(np.float32)
    image = blur(sheet.image, rng.uniform(0.3, 1.0)) * _tinted(fall.astype(np.float32)) * balance
    sheet.image = image + np.float32(rng.uniform(0.005, 0.025)) * white(rng, image.shape[:2])[..., None]


def dermoscopy(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Skin with irregular pigmented lesions, under hairs, a ruler and at times the rim of the lens."""
    tone = rng.uniform(0.0, 1.0)
    skin = np.array([0.85, 0.68, 0.58]) * (1 - tone) + np.array([0.6, 0.42, 0.33]) * tone
    sheet = canvas(rng, shape, (0.9, 1.15), 3.1, skin.tolist())
    sheet.image += _tinted(0.03 * cloud(rng, shape, 12), (1.0, 1.0, 0.9))
    _marks(sheet)
    for index in range(int(rng.choice([1, 1, 2, 3]))):
        _lesion(sheet, skin, rng.uniform(0.3, 0.6) if index == 0 else rng.uniform(0.08, 0.25))
    _hairs(sheet)
    _camera(sheet, rng.uniform(0.0, 0.6))
    if rng.random() < 0.25:
        rim = np.clip((1.12 - radius(shape)) * 8, 0, 1)
        sheet.image *= _tinted(rim.astype(np.float32))
    return sheet


def _lesion(sheet: Canvas, skin: Field, size: float) -> None:
    rng = sheet.rng
    spread = 0.15 if size > 0.3 else 0.7
    spot = tuple(rng.uniform(-spread, spread, 2))
    shape = [*lobes(rng), blob(rng, 0.3) * 0.4] if rng.random() < 0.5 else organ(rng)
    where = sheet.region(placed(shape, (spot[0], spot[1]), size, rng.uniform(0, 6)))
    pigment = skin * np.array([0.62, 0.5, 0.45]) ** rng.uniform(0.45, 1.6)
    network = 0.04 * np.sin(6 * smooth(rng, sheet.shape, 12)) + 0.07 * cloud(rng, sheet.shape, 7)
    sheet.paint(
        where, pigment.astype(np.float32) + _tinted(network, (1.0, 0.8, 0.7)), fuzz=rng.uniform(0.5, 3)
    )
    sheet.claim(where)
    for _ in range(int(rng.integers(0, 5))):  # globules and paler regression, part of the lesion
        offset = rng.normal(0, 0.3 * size, 2) + spot
        dot = sheet.region(placed([blob(rng, 0.3)], (offset[0], offset[1]), size * rng.uniform(0.05, 0.2)))
        patch = dot.cover * blurred_presence(sheet, dot.window)
        sheet.image[dot.window] *= 1 - _tinted(patch * np.float32(rng.uniform(-0.15, 0.4)))


def blurred_presence(sheet: Canvas, window: tuple[slice, slice]) -> Field:
    """float32 `(h, w)`: where the last object is, so that its inner detail stays inside it."""
    return blur(sheet.objects[-1][window].astype(np.float32), 1)


def _marks(sheet: Canvas) -> None:
    """A ruler's ticks, a colour chart or a drop of ink: salient, and never an object."""
    rng = sheet.rng
    if rng.random() < 0.4:
        for tick in np.arange(-0.9, 0.9, 0.12):
            sheet.paint(sheet.region(placed([arc(rng, 0, 0.12)], (tick, 0.88), 0.05, np.pi / 2)), 0.15)
    if rng.random() < 0.3:
        spot = tuple(rng.uniform(-0.9, 0.9, 2))
        colour = rng.uniform(0.1, 0.9, 3).tolist()
        sheet.paint(sheet.region(placed([blob(rng, 0.02)], (spot[0], spot[1]), 0.3)), colour)


def _hairs(sheet: Canvas) -> None:
    rng = sheet.rng
    colour = (0.1, 0.07, 0.06) if rng.random() < 0.8 else (0.75, 0.65, 0.5)
    for _ in range(int(rng.choice([0, 3, 8, 20]))):
        spot = tuple(rng.uniform(-1, 1, 2))
        thin = 0.007 / (length := rng.uniform(0.3, 0.9))
        hair = placed([arc(rng, rng.uniform(0.1, 1.0), thin)], (spot[0], spot[1]), length, rng.uniform(0, 6))
        sheet.paint(sheet.region(hair), colour, opacity=rng.uniform(0.5, 0.95))


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
    sheet.image += np.float32(0.02) * smooth(rng, shape, 3)
    size, bright = rng.uniform(0.05, 0.17), rng.uniform(0.3, 0.8)
    grain = np.float32(rng.uniform(0.02, 0.12)) * cloud(rng, shape, 30)
    for place in _places(rng, int(np.clip(0.35 / size**2, 12, 55))):
        outlines = placed(_nucleus(rng), (place[0], place[1]), size * rng.uniform(0.75, 1.35))
        level = max(bright * rng.uniform(0.5, 1.3), dark + 0.2)
        where = sheet.region(outlines)
        sheet.paint(where, level * (1 + grain), opacity=0.93)
        sheet.claim(where)
    glow = blur(sheet.image, rng.uniform(0.4, 1.6))
    sheet.image = glow + np.float32(rng.uniform(0.005, 0.04)) * white(rng, shape)
    return sheet


def _stained(rng: np.random.Generator, shape: Shape) -> Canvas:
    ground = np.array([rng.uniform(0.82, 0.95), rng.uniform(0.6, 0.82), rng.uniform(0.75, 0.88)])
    sheet = canvas(rng, shape, (0.9, 1.1), 0, ground.tolist())
    stroma = 0.08 * np.sin(5 * smooth(rng, shape, 5)) + 0.05 * cloud(rng, shape, 15)
    sheet.image += _tinted(stroma.astype(np.float32), (0.5, 1.0, 0.6))
    size = rng.uniform(0.06, 0.16)
    chromatin = 0.06 * cloud(rng, shape, 30)
    for place in _places(rng, int(np.clip(0.3 / size**2, 10, 45))):
        purple = np.array([0.42, 0.28, 0.58]) * rng.uniform(0.75, 1.35)
        where = sheet.region(placed(_nucleus(rng), (place[0], place[1]), size * rng.uniform(0.75, 1.3)))
        sheet.paint(
            where, purple.astype(np.float32) + _tinted(chromatin[where.window]), fuzz=rng.uniform(0, 0.7)
        )
        sheet.claim(where)
    _camera(sheet, rng.uniform(0, 0.2))
    return sheet


def _rods(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Transmitted light: grey rods with a halo."""
    ground = rng.uniform(0.45, 0.75)
    sheet = canvas(rng, shape, (0.9, 1.1), 0, ground)
    sheet.image += np.float32(0.05) * smooth(rng, shape, 2)
    size, step = rng.uniform(0.1, 0.22), rng.choice([-1, 1]) * rng.uniform(0.15, 0.3)
    for place in _places(rng, int(np.clip(0.5 / size**2, 10, 40))):
        angle = rng.uniform(0.25, 1.3) + rng.integers(4) * np.pi / 2
        rod = placed(
            [arc(rng, rng.uniform(0.05, 1.2), rng.uniform(0.22, 0.4))], (place[0], place[1]), size, angle
        )
        where = sheet.region(rod)
        sheet.paint(
            sheet.region([o * 1.2 - 0.2 * o.mean(0) for o in rod]), ground - step * 0.6, opacity=0.6, fuzz=1
        )
        sheet.paint(where, ground + step * rng.uniform(0.7, 1.2))
        sheet.claim(where)
    sheet.image = blur(sheet.image, rng.uniform(0.4, 1.2)) + np.float32(rng.uniform(0.01, 0.04)) * white(
        rng, shape
    )
    return sheet
