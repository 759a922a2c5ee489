"""Phantom ultrasound and X-ray: a fan of speckle with shadows, and bones that overlap transparently.

This module knows nothing of boxes, and its anatomy is only roughly like anatomy.
"""

import numpy as np

from .phantom_canvas import Canvas, canvas
from .phantom_shapes import Field, Outlines, Shape, arc, blob, lobes, organ, placed, region, ribbon, wedge
from .phantom_textures import blur, smooth, speckle, white


def ultrasound(rng: np.random.Generator, shape: Shape) -> Canvas:
    """Layered tissue with fuzzy lesions, a chamber or a skull, seen through speckle, shadows and a fan."""
    ground = rng.uniform(0.3, 0.55)
    sheet = canvas(rng, shape, (0.85, 1.2), 0.3, ground)
    layers = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None] + 0.05 * smooth(rng, shape, 3)
    sheet.image += rng.uniform(0.0, 0.08) * np.sin(rng.uniform(10, 40) * layers) + 0.05 * sheet.texture()
    for _ in range(int(rng.integers(1, 4))):  # bands of fascia
        spot = (rng.uniform(-0.5, 0.5), rng.uniform(-0.8, 0.8))
        band = placed([arc(rng, 0.4, 0.04, 2.0)], spot, rng.uniform(0.4, 0.9), rng.uniform(-0.3, 0.3))
        sheet.paint(sheet.region(band), ground + 0.25, fuzz=1)
    if rng.random() < 0.3:
        _chambers(sheet, ground)
    else:
        _lesions(sheet, ground)
    sheet.image = _through_the_probe(rng, sheet.image)
    _cut_to_fan(sheet)
    return sheet


def _lesions(sheet: Canvas, ground: float) -> None:
    rng = sheet.rng
    for _ in range(int(rng.integers(2, 5))):
        size = rng.uniform(0.1, 0.42)
        spot = (rng.uniform(-0.45, 0.45), rng.uniform(-0.5, 0.6))
        outlines = placed(organ(rng), spot, size)
        where = sheet.region(outlines)
        dark = rng.random() < 0.75
        level = ground * rng.uniform(0.1, 0.55) if dark else ground + rng.uniform(0.25, 0.4)
        sheet.paint(where, level, fuzz=rng.uniform(0.5, 2.5))
        if rng.random() < 0.8:
            sheet.claim(where)
        else:
            sheet.hide(where)
        if rng.random() < 0.5:
            below = [np.array([[-size, 0], [size, 0], [size * 1.2, 2], [-size * 1.2, 2]]) * 0.6 + spot]
            sheet.image[...] *= 1 - _soft(sheet, below, 3) * rng.uniform(-0.3, 0.6)


def _soft(sheet: Canvas, outlines: Outlines, sigma: float) -> Field:
    whole = np.zeros(sheet.shape, np.float32)
    where = sheet.region(outlines)
    whole[where.window] = blur(where.cover, sigma)
    return whole


def _chambers(sheet: Canvas, ground: float) -> None:
    """A bright wall around dark chambers, as a heart or a foetal head has."""
    rng = sheet.rng
    spot, size = (rng.uniform(-0.2, 0.2), rng.uniform(-0.1, 0.2)), rng.uniform(0.4, 0.65)
    shell = placed([blob(rng, 0.12) * (1, rng.uniform(0.6, 0.85))], spot, size, rng.uniform(0, 6))
    hollow = [o * 0.82 + 0.18 * o.mean(0) for o in shell]
    wall = sheet.region(shell, hollow)
    sheet.paint(sheet.region(hollow), ground * 0.4, fuzz=1)
    sheet.paint(wall, ground + rng.uniform(0.2, 0.4), fuzz=1)
    sheet.claim(wall)
    for _ in range(int(rng.integers(1, 4))):
        place = (spot[0] + rng.uniform(-0.5, 0.5) * size, spot[1] + rng.uniform(-0.4, 0.4) * size)
        chamber = sheet.region(placed(organ(rng), place, size * rng.uniform(0.2, 0.42)))
        sheet.paint(chamber, rng.choice([0.03, ground + 0.25]), fuzz=1)
        sheet.claim(chamber)


def _through_the_probe(rng: np.random.Generator, echo: Field) -> Field:
    """Speckle, attenuation and shadow columns."""
    shape = echo.shape[0], echo.shape[1]
    grain = speckle(rng, shape, rng.uniform(1.0, 2.4), rng.uniform(0.5, 1.1))
    strength = rng.uniform(0.35, 0.8)
    depth = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    columns = smooth(rng, (8, shape[1]), 1.0)[:1]
    shadow = 1 - rng.uniform(0, 0.4) * np.clip(columns, 0, 1) * depth
    fade = np.exp(-rng.uniform(0.0, 0.7) * depth)
    measured = np.clip(echo, 0.02, None) * (1 - strength + strength * grain) * shadow * fade
    compressed: Field = np.power(np.clip(measured, 0, None), rng.uniform(0.7, 1.0))
    return compressed


def _cut_to_fan(sheet: Canvas) -> None:
    """Keep a sector, or the whole rectangle of a linear probe; objects lose what lies outside."""
    if sheet.rng.random() < 0.35:
        return
    height, width = sheet.shape
    apex = (width / 2, -height * sheet.rng.uniform(0.05, 0.4))
    half = sheet.rng.uniform(0.55, 0.8)
    turns = np.linspace(-half, half, 40)
    far = height * sheet.rng.uniform(0.93, 1.0) - apex[1]
    near = height * 0.08 - apex[1]
    edges = [
        np.stack((apex[0] + r * np.sin(t), apex[1] + r * np.cos(t)), 1) for r, t in ((near, turns), (far, turns[::-1]))
    ]
    sector = region(sheet.shape, [np.concatenate(edges)])
    seen = np.zeros(sheet.shape, np.float32)
    seen[sector.window] = sector.cover
    sheet.image = sheet.image * seen
    for mask in sheet.objects:
        mask &= seen >= 0.5


def xray(rng: np.random.Generator, shape: Shape) -> Canvas:
    """A hip, a chest or a limb: layers add up, edges of bone are bright, at times shown inverted."""
    sheet = canvas(rng, shape, (0.85, 1.3), 0.35, rng.uniform(0.03, 0.15))
    (_hip, _hip, _chest, _limb)[int(rng.integers(4))](sheet)
    haze = rng.uniform(0.02, 0.08) * smooth(rng, shape, 2)
    noise = rng.uniform(0.008, 0.035) * white(rng, shape)
    film = 1 - np.exp(-rng.uniform(0.9, 1.5) * np.clip(sheet.image, 0, None))
    sheet.image = (blur(film, rng.uniform(0.3, 1.2)) + haze + noise).astype(np.float32)
    if rng.random() < 0.2:
        sheet.image = 1 - sheet.image
    return sheet


def _bone(sheet: Canvas, outlines: Outlines, density: float, claim: bool) -> None:
    """A bright cortex around a fainter, grainy marrow, laid over what is there."""
    rng = sheet.rng
    where = sheet.region(outlines)
    rim = where.cover - blur(where.cover, rng.uniform(1.5, 3.5))
    grain = 0.06 * sheet.texture()[where.window]
    sheet.add(where, density * (1 + 1.1 * np.clip(rim, 0, None) + grain))
    if claim:
        sheet.claim(where, covers=False)


def _soft_tissue(sheet: Canvas, outlines: Outlines, density: float) -> None:
    where = sheet.region(outlines)
    profile = blur(where.cover, 4) * (1 + 0.1 * sheet.texture()[where.window])
    sheet.add(where, density * profile)


def femur(rng: np.random.Generator) -> Outlines:
    """Shaft, neck, head and trochanters, head up and to the left, about one unit high."""
    knee, elbow = np.array([rng.uniform(-0.1, 0.3), rng.uniform(1.2, 3.0)]), np.array([0.2, -0.3])
    head = np.array([rng.uniform(-0.5, -0.3), rng.uniform(-0.8, -0.6)])
    along = np.linspace(0, 1, 41)[:, None]
    shaft = ribbon(elbow + along * (knee - elbow), rng.uniform(0.14, 0.19) * (1 + 0.25 * (1 - along[:, 0]) ** 3), 20)
    neck = ribbon(elbow + along * (head - elbow), rng.uniform(0.14, 0.19) * (1.25 - 0.3 * along[:, 0]), 20)
    ball = placed([blob(rng, 0.03)], head, rng.uniform(0.22, 0.27))
    greater = placed([blob(rng, 0.12)], (0.3, -0.42), (0.14, 0.22), -0.2)
    lesser = placed([blob(rng, 0.12)], (0.06, 0.02), (0.12, 0.12))
    return [shaft, neck, *ball, *greater, *lesser]


def _hip(sheet: Canvas) -> None:
    rng = sheet.rng
    both = rng.random() < 0.5
    size = rng.uniform(0.32, 0.45) if both else rng.uniform(0.5, 0.8)
    _soft_tissue(sheet, [blob(rng, 0.08) * (1.3, 1.1) + np.array([0, -0.3])], rng.uniform(0.1, 0.3))
    for side in (-1, 1) if both else (1,):
        place = (side * 0.52, 0.25) if both else (rng.uniform(-0.1, 0.2), rng.uniform(0.1, 0.3))
        thigh = placed([arc(rng, 0.1, 0.22)], (place[0], place[1] + 2 * size), size * 2.8, np.pi / 2)
        _soft_tissue(sheet, thigh, rng.uniform(0.15, 0.35))
        bone = placed(femur(rng), place, (side * size, size), rng.uniform(-0.15, 0.15))
        _bone(sheet, bone, rng.uniform(0.3, 0.6), claim=True)
        cup = placed([blob(rng, 0.2)], (place[0] - side * size * 0.62, place[1] - size), size * 0.5)
        _bone(sheet, cup, rng.uniform(0.15, 0.3), claim=False)
        _pelvis(sheet, place, side * size, size)


def _pelvis(sheet: Canvas, place: tuple[float, float], across: float, size: float) -> None:
    rng = sheet.rng
    wing = placed([wedge(rng)], (place[0] - across * 0.5, place[1] - size * 1.6), size * 0.75, rng.uniform(-0.5, 0.5))
    _bone(sheet, wing, rng.uniform(0.15, 0.35), claim=rng.random() < 0.4)
    ramus = placed(
        [arc(rng, 1.6, 0.22)],
        (place[0] - across * 1.05, place[1] - size * 0.15),
        size * 0.42,
        rng.uniform(0, 6),
    )
    _bone(sheet, ramus, rng.uniform(0.15, 0.35), claim=rng.random() < 0.4)


def _chest(sheet: Canvas) -> None:
    rng = sheet.rng
    _soft_tissue(sheet, [blob(rng, 0.05) * (1.0, 1.1)], rng.uniform(0.5, 0.7))
    for side in (-1, 1):
        lung = placed(_lung(rng, side), (side * 0.4, -0.05), rng.uniform(0.5, 0.62))
        where = sheet.region(lung)
        sheet.add(where, -rng.uniform(0.28, 0.42) * blur(where.cover, 1.0))
        sheet.claim(where, covers=False)
    _soft_tissue(sheet, placed([blob(rng, 0.1)], (0.12, 0.25), (0.3, 0.36), 0.5), 0.25)
    _soft_tissue(sheet, placed([arc(rng, 0.05, 0.1)], (0, 0), 1.0, np.pi / 2), 0.3)
    for row in np.arange(-0.65, 0.6, 0.2):
        for side in (-1, 1):
            rib = placed([arc(rng, 0.9, 0.07)], (side * 0.4, row), (0.45, 0.4), side * rng.uniform(0.1, 0.3))
            _bone(sheet, rib, rng.uniform(0.08, 0.16), claim=False)
    for side in (-1, 1):
        clavicle = placed([arc(rng, 0.3, 0.1)], (side * 0.42, -0.68), 0.36, side * -rng.uniform(0.1, 0.4))
        _bone(sheet, clavicle, rng.uniform(0.25, 0.4), claim=rng.random() < 0.7)
    for _ in range(int(rng.integers(0, 3))):  # opacities
        spot = (rng.choice([-1, 1]) * rng.uniform(0.25, 0.5), rng.uniform(-0.4, 0.4))
        where = sheet.region(placed(lobes(rng), spot, rng.uniform(0.09, 0.2)))
        sheet.add(where, rng.uniform(0.2, 0.35))
        sheet.claim(where, covers=False)


def _lung(rng: np.random.Generator, side: int) -> Outlines:
    """A pointed apex, a bulging flank, a base hollowed by the diaphragm."""
    flank = np.array([[-0.45, 1.0], [-0.5, 0.2], [-0.35, -0.6], [0.05, -1.05], [0.35, -0.6]])
    base = np.array([[0.62, 0.1], [0.78, 1.15], [0.45, 0.85], [0.1, rng.uniform(0.65, 0.85)], [-0.2, 0.8]])
    corners = np.concatenate((flank, base)) * (1, rng.uniform(0.8, 1.1)) + rng.normal(0, 0.05, (10, 2))
    closed = np.concatenate((corners, corners[:1]))
    for _ in range(3):  # cut the corners
        closed = np.stack((0.75 * closed[:-1] + 0.25 * closed[1:], 0.25 * closed[:-1] + 0.75 * closed[1:]), 1)
        closed = np.concatenate((closed.reshape(-1, 2), closed[0, :1]))
    return [closed * (side, 1)]


def _limb(sheet: Canvas) -> None:
    """A hand or a lower leg: long bones with knobby ends, side by side and end to end."""
    rng = sheet.rng
    count, angle = int(rng.integers(2, 5)), rng.uniform(-0.6, 0.6) + np.pi / 2
    for index in range(count):
        across = (index - (count - 1) / 2) * rng.uniform(1.2, 1.5) / count
        _soft_tissue(sheet, placed([arc(rng, 0.1, 0.8 / count)], (across, 0), 1.2, angle), rng.uniform(0.15, 0.3))
        start = rng.uniform(-1.1, -0.7)
        while start < 0.7:
            half = rng.uniform(0.25, 0.5)
            spot = (across + (start + half) * np.cos(angle), (start + half) * np.sin(angle))
            _bone(sheet, placed(_long_bone(rng, count), spot, half, angle), rng.uniform(0.3, 0.6), claim=True)
            start += 2 * half + 0.04


def _long_bone(rng: np.random.Generator, count: int) -> Outlines:
    bar = arc(rng, rng.uniform(0.05, 0.25), rng.uniform(0.3, 0.5) / count)
    knobs = [placed([blob(rng, 0.15)], (end * 0.85, 0.0), (0.16, 0.8 / count))[0] for end in (-1.0, 1.0)]
    return [bar, *knobs]
