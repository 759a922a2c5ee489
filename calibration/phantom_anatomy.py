"""Sections through an abdomen, a thorax, a head and a heart, for phantom CT and MR alike.

What has no box (ribs, vessels, bowel, at times an organ) is there so that a box is needed to know what is
meant. This module knows tissues and places, not how they were imaged, and it is no anatomy to learn from.
"""

from dataclasses import dataclass

import numpy as np

from ..runtime.types import Mask
from .phantom_canvas import Canvas
from .phantom_shapes import (
    Outline,
    Outlines,
    Region,
    arc,
    bean,
    blob,
    organ,
    placed,
    wedge,
    within,
    without,
)
from .phantom_textures import smooth


@dataclass(frozen=True)
class Tissues:
    """Mean levels, 0 (black) to 1 (white), of one acquisition."""

    air: float
    fat: float
    muscle: float
    bone: float
    fluid: float
    blood: float
    parenchyma: tuple[float, float]
    noise: float


def _body(sheet: Canvas, tissues: Tissues) -> Region:
    """Skin, fat, muscle wall; returns the cavity."""
    rng = sheet.rng
    texture = 0.03 * sheet.texture()
    outline = blob(rng, 0.05) * (0.92, rng.uniform(0.62, 0.75))
    thickness = rng.uniform(0.04, 0.14)
    sheet.paint(sheet.region([outline]), tissues.muscle)  # skin
    sheet.paint(sheet.region([outline * 0.985]), tissues.fat + texture)
    sheet.paint(sheet.region([outline * (0.98 - thickness)]), tissues.muscle + texture)
    cavity = sheet.region([outline * (0.88 - thickness)])
    sheet.paint(cavity, tissues.fat + texture)
    return cavity


def _spine(sheet: Canvas, tissues: Tissues) -> None:
    rng = sheet.rng
    body = placed([blob(rng, 0.08)], (0, 0.42), (0.15, 0.12))
    spikes = [
        placed([arc(rng, 0.2, 0.25)], (x, y), 0.13, turn)[0]
        for x, y, turn in ((0, 0.62, np.pi / 2), (-0.16, 0.53, 0.4), (0.16, 0.53, -0.4))
    ]
    bone = sheet.region(body + spikes, placed([blob(rng, 0.1)], (0, 0.54), 0.05))
    sheet.paint(bone, tissues.bone - 0.1 + 0.08 * sheet.texture())
    if rng.random() < 0.3:
        sheet.claim(bone)
    else:
        sheet.hide(bone)


def _ribs(sheet: Canvas, tissues: Tissues) -> None:
    rib, ribs = arc(sheet.rng, 0.5, 0.22), []
    for turn in np.arange(0.2, 2 * np.pi, 0.5):
        place = (0.8 * np.cos(turn), 0.55 * np.sin(turn))
        ribs += placed([rib], place, 0.11, turn + np.pi / 2)
    sheet.paint(sheet.region(ribs), tissues.bone)


def _level(rng: np.random.Generator, tissues: Tissues) -> float:
    """A level somewhere in the range of the parenchyma; organs lie in fat and have to differ from it."""
    level = rng.uniform(*tissues.parenchyma)
    if abs(level - tissues.fat) < 0.1:
        level = tissues.fat + (0.14 if level > tissues.fat else -0.14)
    return float(level)


def _lesions(sheet: Canvas, host: Outlines, level: float, inside: Region) -> None:
    """Up to two lesions in a host organ, brighter or darker than it."""
    rng = sheet.rng
    middle = np.concatenate(host).mean(0)
    for _ in range(int(rng.integers(0, 3))):
        spot = middle + rng.uniform(-0.15, 0.15, 2)
        outline = placed(organ(rng), spot, rng.uniform(0.05, 0.13))
        lesion = within(sheet.region(outline), inside.mask(sheet.shape))
        sheet.paint(lesion, level + rng.choice([-1, 1]) * rng.uniform(0.12, 0.25), fuzz=rng.uniform(0, 1))
        sheet.claim(lesion)


def abdomen(sheet: Canvas, tissues: Tissues) -> None:
    """Liver, spleen, kidneys, stomach and pancreas among bowel, in front of the spine."""
    rng = sheet.rng
    cavity = _body(sheet, tissues).mask(sheet.shape)
    _bowel(sheet, tissues, cavity)
    _spine(sheet, tissues)
    plan: list[tuple[Outlines, tuple[float, float], float, float]] = [
        ([wedge(rng) * (1, 0.75)], (-0.42, -0.12), 0.36, rng.uniform(-0.6, 0.6)),
        ([arc(rng, 1.1, 0.3, 2.0)], (0.6, 0.08), 0.24, np.pi / 2 + rng.uniform(-0.4, 0.4)),
        ([bean(rng)], (-0.34, 0.32), 0.17, rng.uniform(-0.6, 0.6)),
        ([-bean(rng)], (0.34, 0.32), 0.17, rng.uniform(-0.6, 0.6)),
        (organ(rng), (0.28, -0.22), rng.uniform(0.15, 0.3), 0.0),
        ([arc(rng, rng.uniform(0.4, 1.0), 0.16)], (0.05, 0.05), 0.26, rng.uniform(-0.5, 0.5)),
    ]
    for outlines, place, size, angle in plan:
        spot = (place[0] + rng.normal(0, 0.03), place[1] + rng.normal(0, 0.03))
        _put(sheet, tissues, placed(outlines, spot, size * rng.uniform(0.75, 1.2), angle), cavity)
    for x in (-0.07, 0.09):  # the great vessels
        vessel = sheet.region(placed([blob(rng, 0.08)], (x, 0.24), rng.uniform(0.04, 0.07)))
        sheet.paint(vessel, tissues.blood)
        sheet.hide(vessel)


def _put(sheet: Canvas, tissues: Tissues, outlines: Outlines, cavity: Mask) -> None:
    """An organ in the cavity, mostly with a box, sometimes a mere distractor."""
    rng = sheet.rng
    where = within(sheet.region(outlines), cavity)
    level = _level(rng, tissues)
    grain = rng.uniform(0.0, 0.03) * sheet.texture()[where.window]
    sheet.paint(where, level + grain, fuzz=rng.uniform(0, 0.8))
    if rng.random() < 0.85:
        sheet.claim(where)
        _lesions(sheet, outlines, level, where)
    else:
        sheet.hide(where)


def _bowel(sheet: Canvas, tissues: Tissues, cavity: Mask) -> None:
    rng = sheet.rng
    for _ in range(int(rng.integers(4, 10))):
        spot = (rng.uniform(-0.5, 0.55), rng.uniform(-0.4, 0.25))
        loop = placed(organ(rng), spot, rng.uniform(0.07, 0.15))
        sheet.paint(within(sheet.region(loop), cavity), tissues.muscle + rng.normal(0, 0.03))
        content = tissues.air if rng.random() < 0.3 else tissues.fluid
        sheet.paint(within(sheet.region([o * 0.6 + 0.4 * o.mean(0) for o in loop]), cavity), content)


def thorax(sheet: Canvas, tissues: Tissues) -> None:
    """Two lungs with vessels and nodules, a heart, ribs and the spine."""
    rng = sheet.rng
    _body(sheet, tissues)
    _ribs(sheet, tissues)
    aerated = tissues.air + rng.uniform(0.02, 0.15)
    texture = np.float32(0.03) * sheet.texture()
    for side in (-1, 1):
        outline = placed([-side * bean(rng)], (side * 0.42, -0.02), 0.47, rng.uniform(-0.25, 0.25))
        lung = sheet.region(outline)
        sheet.paint(lung, aerated + texture)
        sheet.claim(lung)
        _vessels(sheet, outline, tissues.muscle)
        _lesions(sheet, outline, aerated + 0.3, lung)
    heart = placed([blob(rng, 0.15), arc(rng, 0.9, 0.3)], (0.1, -0.1), (0.3, 0.24), rng.uniform(-0.5, 0.5))
    where = sheet.region(heart)
    sheet.paint(where, tissues.muscle + 0.05 + 0.5 * (tissues.blood - tissues.muscle) * rng.random())
    sheet.claim(where)
    _spine(sheet, tissues)


def _vessels(sheet: Canvas, host: Outlines, level: float) -> None:
    rng = sheet.rng
    spots = host[0].mean(0) + rng.normal(0, 0.13, (10, 2))
    branch = arc(rng, 0.5, 0.12)
    branches = [placed([branch], spot, rng.uniform(0.02, 0.12), rng.uniform(0, 6))[0] for spot in spots]
    sheet.paint(sheet.region(branches), level, opacity=rng.uniform(0.3, 0.9))


def head(sheet: Canvas, tissues: Tissues) -> None:
    """Skull and brain with ventricles, deep nuclei, and a bleed or a tumour in its oedema."""
    rng = sheet.rng
    skull = blob(rng, 0.03) * (0.72, 0.86)
    sheet.paint(sheet.region([skull]), tissues.fat)
    sheet.paint(sheet.region([skull * 0.95]), tissues.bone)
    brain = sheet.region([skull * rng.uniform(0.84, 0.9)])
    level = rng.uniform(tissues.muscle, max(tissues.muscle + 0.05, tissues.parenchyma[1] - 0.1))
    folds = np.tanh(3 * smooth(rng, sheet.shape, 14)) * rng.uniform(0.01, 0.06)
    sheet.paint(brain, level + folds)
    inside = brain.mask(sheet.shape)
    away = -1 if level > 0.5 else 1
    for side in (-1, 1):  # lateral ventricles
        horn = placed(
            [arc(rng, 1.0, 0.25, 2.0)],
            (side * 0.16, -0.05),
            rng.uniform(0.2, 0.34),
            side * (np.pi / 2 + rng.uniform(-0.2, 0.2)),
        )
        _claimed(sheet, sheet.region(horn), tissues.fluid)
        nucleus = placed(organ(rng), (side * 0.27, 0.02), rng.uniform(0.08, 0.14))
        _claimed(sheet, without(sheet.region(nucleus), ~inside), level + away * rng.uniform(0.12, 0.2))
    for _ in range(int(rng.integers(1, 3))):  # a bleed, a tumour with its oedema
        spot = (rng.uniform(-0.4, 0.4), rng.uniform(-0.5, 0.5))
        size = rng.uniform(0.1, 0.24)
        rim = within(sheet.region(placed(organ(rng), spot, size * 1.5)), inside)
        sheet.paint(rim, level + away * 0.08, fuzz=2)
        sheet.hide(rim)
        core = within(sheet.region(placed(organ(rng), spot, size)), inside)
        _claimed(sheet, core, level + rng.choice([away, away, -away]) * rng.uniform(0.2, 0.35))


def _claimed(sheet: Canvas, where: Region, level: float) -> None:
    sheet.paint(where, level + 0.02 * sheet.texture()[where.window], fuzz=sheet.rng.uniform(0, 0.8))
    sheet.claim(where)


def heart(sheet: Canvas, tissues: Tissues) -> None:
    """The left ventricle's wall is a ring; the right ventricle is a crescent at its side."""
    rng = sheet.rng
    cavity = _body(sheet, tissues).mask(sheet.shape)
    for side in (-1, 1):
        lung = placed([wedge(rng)], (side * 0.5, rng.uniform(-0.1, 0.1)), rng.uniform(0.35, 0.5), rng.uniform(0, 6))
        sheet.paint(within(sheet.region(lung), cavity), tissues.air + rng.uniform(0.02, 0.1))
    liver = placed([wedge(rng)], (-0.4, 0.4), 0.4, rng.uniform(0, 6))
    _put(sheet, tissues, liver, cavity)
    size, place = rng.uniform(0.15, 0.34), (rng.uniform(-0.1, 0.25), rng.uniform(-0.2, 0.1))
    septum = rng.uniform(np.pi * 0.7, np.pi * 1.3)
    epicardium = [blob(rng, 0.06) * (1, rng.uniform(0.85, 1))]
    _right_ventricle(sheet, tissues, place, size, septum)
    wall = rng.uniform(0.25, 0.5)
    outer, inner = placed(epicardium, place, size), placed([blob(rng, 0.08)], place, size * (1 - wall))
    _claimed(sheet, sheet.region(outer, inner), tissues.muscle)
    pool = sheet.region(inner)
    sheet.paint(pool, tissues.blood)
    sheet.hide(pool)
    for turn in rng.uniform(0, 2 * np.pi, 2):  # papillary muscles
        spot = np.array(place) + 0.6 * size * (1 - wall) * np.array([np.cos(turn), np.sin(turn)])
        sheet.paint(sheet.region(placed([blob(rng, 0.2)], spot, 0.14 * size)), tissues.muscle)
    if rng.random() < 0.3:
        sheet.claim(pool)


def _right_ventricle(sheet: Canvas, tissues: Tissues, place: tuple[float, float], size: float, septum: float) -> None:
    rng = sheet.rng
    spot = (place[0] + 1.05 * size * np.cos(septum), place[1] + 1.05 * size * np.sin(septum))
    crescent: Outline = arc(rng, 1.0, rng.uniform(0.4, 0.6), 2.0)
    outlines = placed([crescent], spot, size * rng.uniform(0.9, 1.2), septum + np.pi / 2)
    wall = sheet.region([o * 1.12 - 0.12 * o.mean(0) for o in outlines])
    sheet.paint(wall, tissues.muscle)
    sheet.hide(wall)
    _claimed(sheet, sheet.region(outlines), tissues.blood)
