"""Phantom CT and MR: the levels of tissues and the marks of the scanner.

CT has a random window, a table and correlated noise; MR has a bias field, blur, Rician noise and fluid of
either polarity. What is in the section is in phantom_anatomy. This module knows nothing of boxes.
"""

from collections.abc import Callable

import numpy as np

from .phantom_anatomy import Tissues, abdomen, head, heart, thorax
from .phantom_canvas import Canvas, canvas
from .phantom_shapes import Shape, arc, placed
from .phantom_textures import blur, rician, smooth, white

Anatomy = Callable[[Canvas, Tissues], None]


def ct(rng: np.random.Generator, shape: Shape) -> Canvas:
    """An abdomen, a thorax or a head in a random window, on a table, with correlated noise."""
    soft = rng.uniform(0.4, 0.55)
    tissues = Tissues(
        air=0.0,
        fat=soft - rng.uniform(0.15, 0.28),
        muscle=soft,
        bone=rng.uniform(0.85, 1.0),
        fluid=soft - rng.uniform(0.08, 0.14),
        blood=soft + rng.choice([-0.04, 0.2, 0.35]),
        parenchyma=(soft - 0.1, soft + 0.28),
        noise=rng.uniform(0.01, 0.06),
    )
    sheet = canvas(rng, shape, (0.85, 1.35), 0.12)
    table = 1.1 * placed([arc(rng, 0.5, 0.03)], angle=np.pi)[0] + np.array([0, 0.95])
    sheet.paint(sheet.region([table]), 0.25)
    _anatomy(rng, (abdomen, thorax, head), (0.5, 0.3, 0.2))(sheet, tissues)
    grain = white(rng, shape) + 1.5 * blur(white(rng, shape), 0.8)
    sheet.image = blur(sheet.image, rng.uniform(0.3, 0.9)) + np.float32(tissues.noise) * grain
    return sheet


def mr(rng: np.random.Generator, shape: Shape) -> Canvas:
    """A heart in short axis, a head or an abdomen, with a bias field, blur and Rician noise."""
    bright_fluid = rng.random() < 0.6
    muscle = rng.uniform(0.18, 0.42)
    tissues = Tissues(
        air=0.0,
        fat=rng.uniform(0.55, 0.9),
        muscle=muscle,
        bone=rng.uniform(0.02, 0.12),
        fluid=rng.uniform(0.8, 1.0) if bright_fluid else 0.08,
        blood=rng.uniform(0.65, 0.95) if rng.random() < 0.85 else 0.05,
        parenchyma=(muscle - 0.1, 0.75),
        noise=rng.uniform(0.01, 0.06),
    )
    sheet = canvas(rng, shape, (0.85, 1.5), 0.3)
    _anatomy(rng, (heart, head, abdomen), (0.45, 0.3, 0.25))(sheet, tissues)
    bias = np.exp(rng.uniform(0.05, 0.35) * smooth(rng, shape, 1.5).clip(-2, 2))
    measured = blur(sheet.image, rng.uniform(0.4, 1.2)) * bias
    sheet.image = rician(rng, measured.astype(np.float32), np.float32(tissues.noise))
    return sheet


def _anatomy(rng: np.random.Generator, choices: tuple[Anatomy, ...], odds: tuple[float, ...]) -> Anatomy:
    return choices[int(rng.choice(len(choices), p=odds))]
