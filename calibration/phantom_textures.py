"""Random fields and the small filters that turn flat levels into something that looks measured.

Fields are float32 `(H, W)`. Smooth ones are a small random grid enlarged, blurs are short separable sums,
so each costs well under a millisecond at 256 x 256 and needs nothing beyond numpy and Pillow. This module
knows nothing of shapes, modalities or cases.
"""

from types import EllipsisType

import numpy as np
from PIL import Image as PILImage

from .phantom_shapes import Field, Shape


def resized(field: Field, shape: Shape) -> Field:
    """The field at another height and width, bicubic."""
    picture = PILImage.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), PILImage.Resampling.BICUBIC), dtype=np.float32)


def white(rng: np.random.Generator, shape: Shape) -> Field:
    """Independent noise of unit variance."""
    raw = np.frombuffer(rng.bytes(4 * shape[0] * shape[1]), np.uint8).reshape(4, *shape)
    total: Field = raw.sum(0, dtype=np.int16).astype(np.float32)  # four dice: nearly Gaussian, and four times faster
    total -= 510
    total /= 147.8
    return total


def smooth(rng: np.random.Generator, shape: Shape, cells: float) -> Field:
    """Noise of about unit variance with `cells` bumps along the shorter side."""
    step = max(min(shape) / cells, 1.0)
    grid = (max(2, round(shape[0] / step)), max(2, round(shape[1] / step)))
    coarse: Field = 1.3 * rng.standard_normal(grid, dtype=np.float32)
    return resized(coarse, shape)


def cloud(rng: np.random.Generator, shape: Shape, cells: float = 6.0) -> Field:
    """Tissue-like texture of about unit variance: three octaves of smooth noise."""
    half = (shape[0] // 2, shape[1] // 2)  # no finer than two pixels anyway
    low, middle, high = (smooth(rng, half, cells * scale) for scale in (1, 3, 8))
    return resized(0.75 * low + 0.5 * middle + 0.4 * high, shape)


def blur(field: Field, sigma: float, axes: tuple[int, ...] = (-2, -1)) -> Field:
    """Gaussian blur along the axes, edges repeated; also for `(3, H, W)`.

    Args:
        field: float32 `(H, W)` or `(3, H, W)`.
        sigma: In pixels; meant for at most about 4.
        axes: -2 to blur along columns (down), -1 along rows (across).
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
    first, last = (field[_span(axis, end, end + 1)] for end in (0, length - 1))
    padded = np.concatenate((np.repeat(first, reach, axis), field, np.repeat(last, reach, axis)), axis)
    total: Field = weights[0] * padded[_span(axis, 0, length)]
    scaled = np.empty_like(total)
    for offset, weight in enumerate(weights[1:], start=1):
        np.multiply(padded[_span(axis, offset, offset + length)], weight, out=scaled)
        total += scaled
    return total


def _span(axis: int, start: int, stop: int) -> tuple[EllipsisType | slice, ...]:
    """The index of some rows (axis -2) or of some columns (axis -1)."""
    return (..., slice(start, stop), slice(None)) if axis == -2 else (..., slice(start, stop))


def rician(rng: np.random.Generator, field: Field, sigma: float) -> Field:
    """Magnitude of a complex signal with Gaussian noise in both parts, as MR has."""
    real = field + sigma * white(rng, field.shape)
    imaginary = sigma * white(rng, field.shape)
    return _magnitude(real, imaginary)


def speckle(rng: np.random.Generator, shape: Shape, lateral: float, axial: float) -> Field:
    """Multiplicative ultrasound speckle, mean 1: the envelope of blurred complex noise."""
    real, imaginary = (blur(blur(white(rng, shape), lateral, (-1,)), axial, (-2,)) for _ in range(2))
    envelope = _magnitude(real, imaginary)
    envelope /= float(envelope.mean()) + 1e-6
    return envelope


def radius(shape: Shape, centre: tuple[float, float] = (0.0, 0.0)) -> Field:
    """Distance from a centre (x, y), where -1 and 1 are the image's borders."""
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] - np.float32(centre[1])
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :] - np.float32(centre[0])
    return _magnitude(rows, columns)


def _magnitude(real: Field, imaginary: Field) -> Field:
    squares: Field = np.square(real) + np.square(imaginary)
    return np.sqrt(squares, out=squares)  # several times faster than hypot
