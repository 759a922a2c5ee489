"""Random fields and the small filters that turn flat levels into something that looks measured.

Fields are float32 `(H, W)`. Smooth ones are a small random grid enlarged, blurs are short separable sums, so each
costs well under a millisecond at 256 x 256 and needs nothing beyond numpy and Pillow. This module knows nothing of
shapes, modalities or cases.
"""

import numpy as np
from PIL import Image as PILImage

from .phantom_shapes import Field, Shape


def resized(field: Field, shape: Shape) -> Field:
    """The field at another height and width, bicubic."""
    picture = PILImage.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), PILImage.Resampling.BICUBIC), dtype=np.float32)


def white(rng: np.random.Generator, shape: Shape) -> Field:
    """Independent noise of unit variance."""
    return rng.standard_normal(shape, dtype=np.float32)


def smooth(rng: np.random.Generator, shape: Shape, cells: float) -> Field:
    """Noise of about unit variance with `cells` bumps along the shorter side."""
    step = max(min(shape) / cells, 1.0)
    grid = (max(2, round(shape[0] / step)), max(2, round(shape[1] / step)))
    return resized(white(rng, grid), shape) * np.float32(1.3)


def cloud(rng: np.random.Generator, shape: Shape, cells: float = 6.0) -> Field:
    """Tissue-like texture of about unit variance: three octaves of smooth noise."""
    layers = (smooth(rng, shape, cells * scale) * weight for scale, weight in ((1, 0.75), (3, 0.5), (8, 0.4)))
    return np.sum(list(layers), axis=0, dtype=np.float32)


def blur(field: Field, sigma: float, axes: tuple[int, ...] = (0, 1)) -> Field:
    """Gaussian blur along the axes, edges repeated; also for `(H, W, 3)`.

    Args:
        field: float32 `(H, W)` or `(H, W, 3)`.
        sigma: In pixels; meant for at most about 4.
        axes: 0 for rows, 1 for columns.
    """
    if sigma < 0.3:
        return field
    reach = int(np.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in axes:
        field = _convolved(field, weights, axis)
    return field


def _convolved(field: Field, weights: Field, axis: int) -> Field:
    reach, length = len(weights) // 2, field.shape[axis]
    widths = [(reach, reach) if index == axis else (0, 0) for index in range(field.ndim)]
    padded = np.moveaxis(np.pad(field, widths, mode="edge"), axis, 0)
    total = weights[0] * padded[:length]
    for offset, weight in enumerate(weights[1:], start=1):
        total += weight * padded[offset : offset + length]
    return np.moveaxis(total, 0, axis)


def rician(rng: np.random.Generator, field: Field, sigma: float) -> Field:
    """Magnitude of a complex signal with Gaussian noise in both parts, as MR has."""
    real = field + sigma * white(rng, field.shape)
    imaginary = sigma * white(rng, field.shape)
    return np.hypot(real, imaginary)


def speckle(rng: np.random.Generator, shape: Shape, lateral: float, axial: float) -> Field:
    """Multiplicative ultrasound speckle, mean 1: the envelope of blurred complex noise, wider than it is deep."""
    parts = [blur(blur(white(rng, shape), lateral, (1,)), axial, (0,)) for _ in range(2)]
    envelope = np.hypot(*parts)
    return envelope / np.float32(envelope.mean() + 1e-6)


def radius(shape: Shape, centre: tuple[float, float] = (0.0, 0.0)) -> Field:
    """Distance from a centre (x, y), where -1 and 1 are the image's borders."""
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] - np.float32(centre[1])
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :] - np.float32(centre[0])
    return np.hypot(rows, columns)
