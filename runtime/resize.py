"""Resizing as the source models do it, without the libraries they do it with.

Two maps, both linear and separable, so each is a pair of products with one banded matrix per axis: the image resize
of `skimage.transform.resize(order=3, anti_aliasing=True)` and the mask resize of
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`. The matrices are cached per pair of sizes.
Knows nothing about models, boxes or profiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ImageError, UsageError
from .types import AnyArray, Image, Masks

BLOCK = 64  # output samples per matrix block: larger wastes products on zeros, smaller wastes calls
POLE = np.sqrt(3.0) - 2.0  # of the cubic B-spline prefilter (Unser 1993, part II, table I)
PREFILTER_REACH = {"float32": 13, "float64": 28}  # |POLE| ** reach is below the precision's own rounding
# In exact arithmetic a flat region of 7s stays 7 and truncates to 7. float32 products err by up to about 5e-5 at
# 255 and would draw 6s, so values this close to an integer are taken to be that integer. The price is a different
# grey level in 0.02 % of the other pixels; float64 would need no such margin but takes twice the time.
MARGIN = {"float32": 2e-4, "float64": 1e-9}

Floats: TypeAlias = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Block:
    """A run of output samples along one axis and the input samples they are made of.

    Attributes:
        out: The output samples, at most `BLOCK` of them.
        source: The input samples outside which every weight is zero.
        weights: `(len(out), len(source))`; each row sums to 1.
    """

    out: slice
    source: slice
    weights: Floats


Axis: TypeAlias = tuple[Block, ...]


def resize_cubic_antialias(image: Image, size: int, *, dtype: type[np.floating] = np.float32) -> Image:
    """Stretch an image to a square, as MedSAM_Inference.py of bowang-lab/MedSAM does.

    Equals `skimage.transform.resize(image, (size, size), order=3, preserve_range=True,
    anti_aliasing=True).astype(np.uint8)`: Gaussian filter along the axes that shrink, cubic spline through the
    filtered samples, clip to the range of the image, truncate. Where the exact result is an integer
    (flat regions), that library's own double rounding decides between two grey levels; there this may differ by 1.

    Args:
        image: uint8 `(H, W, 3)`.
        size: Side S of the result, in pixels.
        dtype: `np.float64` for the slower reference precision.

    Returns:
        uint8 `(S, S, 3)`, a view of planes: `.transpose(2, 0, 1)` is contiguous.

    Raises:
        ImageError: If the image is not a non-empty uint8 `(H, W, 3)`.
        UsageError: If `size` is below 1.
    """
    _check(image, size)
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    if _is_grey(image):
        plane = _resize_planes(np.ascontiguousarray(image[:, :, :1]), size, np.dtype(dtype))
        return np.repeat(plane, 3, axis=0).transpose(1, 2, 0)
    return _resize_planes(image, size, np.dtype(dtype)).transpose(1, 2, 0)


def bilinear(maps: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Interpolate maps as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` does.

    Args:
        maps: float32 `(N, h, w)`.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        float32 `(N, height, width)`. Beyond it, memory does not grow with N.

    Raises:
        UsageError: If a side is below 1.
    """
    rows, columns = _bilinear_axes(maps, height, width)
    result = np.empty((len(maps), height, width), np.float32)
    for one, target in zip(maps, result, strict=True):
        for out_rows, out_columns, tile in _tiles(one, rows, columns):
            target[out_rows, out_columns] = tile
    return result


def bilinear_above(maps: npt.NDArray[np.float32], height: int, width: int, threshold: float) -> Masks:
    """`bilinear(maps, height, width) > threshold`, without its float maps and without its idle work.

    A weighted mean of values that are all at or below the threshold is not above it, so only the tiles that see a
    larger value are computed: a small structure costs a fraction of a large one.

    Args:
        maps: float32 `(N, h, w)`.
        height: Rows of the result.
        width: Columns of the result.
        threshold: In the unit of the maps.

    Returns:
        bool `(N, height, width)`. Beyond it, memory does not grow with N.

    Raises:
        UsageError: If a side is below 1.
    """
    rows, columns = _bilinear_axes(maps, height, width)
    result = np.zeros((len(maps), height, width), np.bool_)
    for one, target in zip(maps, result, strict=True):
        above = one > threshold
        near_rows, near_columns = _touching(rows, above.any(axis=1)), _touching(columns, above.any(axis=0))
        for out_rows, out_columns, tile in _tiles(one, near_rows, near_columns):
            np.greater(tile, threshold, out=target[out_rows, out_columns])
    return result


def _check(image: Image, size: int) -> None:
    found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
    shape = getattr(image, "shape", ())
    if getattr(image, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ImageError("a non-empty uint8 image (H, W, 3)", found, "convert the image to 8-bit RGB")
    if size < 1:
        raise UsageError("a size of at least 1 pixel", str(size), "give the model's image size")


def _is_grey(image: Image) -> bool:
    """Whether the channels are equal; a few rows settle it for almost every colour image."""
    few = image[:: max(1, len(image) // 8)]
    return all(bool(np.array_equal(part[:, :, 0], part[:, :, c])) for part in (few, image) for c in (1, 2))


def _resize_planes(image: Image, size: int, dtype: np.dtype[np.floating]) -> Image:
    """uint8 `(H, W, C)` to uint8 `(C, S, S)`, both axes through their matrices, clipped and truncated."""
    height, width, channels = image.shape
    rows, columns = _cubic_axis(height, size, dtype.name), _cubic_axis(width, size, dtype.name)
    # Samples (column, channel) x output rows: the transposed product puts the channels beside the columns, so that
    # the second product reads each channel in place and writes planes.
    middle = np.empty((width * channels, size), dtype)
    for block in rows:
        strip = image[block.source].reshape(-1, width * channels).astype(dtype)
        np.matmul(strip.T, block.weights.T, out=middle[:, block.out])
    by_column = middle.reshape(width, channels, size)
    planes = np.empty((channels, size, size), np.uint8)
    low, high, margin = image.min(), image.max(), _margin(height, width, size, dtype.name)
    for channel in range(channels):
        for block in columns:
            tile = by_column[block.source, channel].T @ block.weights.T
            tile += margin
            planes[channel, :, block.out] = np.clip(tile, low, high, out=tile)
    return planes


@lru_cache(maxsize=64)
def _margin(height: int, width: int, size: int, precision: str) -> float:
    """What to add before truncation: towards the side on which the source's rounding leaves flat regions.

    Its Gaussian kernel sums to 1 only within double rounding, and where it sums to less, a flat 7 becomes
    6.999999999999999 and then 6, for most grey levels at once.
    """
    levels = sums = np.arange(256.0)
    for n in (height, width):
        kernel = _gaussian_kernel(n, size)
        centre = kernel.size // 2
        total = sums * kernel[centre]
        for weight in kernel[:centre]:  # the order of summation of scipy.ndimage.correlate1d: the last bit decides
            total = total + (sums + sums) * weight
        sums = total
    falls = np.count_nonzero(sums < levels) > levels.size // 2
    return -MARGIN[precision] if falls else MARGIN[precision]


@lru_cache(maxsize=64)
def _cubic_axis(n: int, size: int, precision: str) -> Axis:
    """The matrix from n samples to `size`, in blocks.

    A row is the cubic B-spline at the output's coordinate, convolved with the prefilter's impulse response
    `-6 z / (1 - z²) z^|k|` (Unser, Aldroubi and Eden 1993, B-spline signal processing, part II) and with the
    Gaussian. All are symmetric, so the mirrored border is exactly a fold of the indices outside the axis.
    """
    position = (np.arange(size) + 0.5) * (n / size) - 0.5
    first = np.floor(position).astype(np.intp)
    if n == size:
        return _blocks(first[:, None], np.ones((size, 1)), n, precision)
    reach = np.abs(np.arange(-PREFILTER_REACH[precision], PREFILTER_REACH[precision] + 1))
    response = np.convolve(-6 * POLE / (1 - POLE**2) * POLE**reach, _gaussian_kernel(n, size))
    weights = np.zeros((size, response.size + 3))
    for tap, spline in enumerate(_cubic_spline(position - first)):
        weights[:, tap : tap + response.size] += spline[:, None] * response
    weights /= weights.sum(axis=1, keepdims=True)
    offsets = np.arange(weights.shape[1]) - response.size // 2 - 1
    return _blocks(_mirror(first[:, None] + offsets, n), weights, n, precision)


def _cubic_spline(t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The cubic B-spline at the four samples around a point `t` in [0, 1) past the second of them."""
    u = 1 - t
    return u**3 / 6, 2 / 3 - t**2 * (2 - t) / 2, 2 / 3 - u**2 * (2 - u) / 2, t**3 / 6


def _gaussian_kernel(n: int, size: int) -> Floats:
    """The anti-aliasing kernel from n samples to `size`, float64, summing to 1; `[1.]` unless the axis shrinks.

    sigma is `(n / size - 1) / 2` (scikit-image, transform.resize); the kernel ends at 4 sigma (scipy.ndimage).
    """
    sigma = max(0.0, (n / size - 1) / 2)
    if sigma <= 1e-15:
        return np.ones(1)
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    return kernel / kernel.sum()


def _mirror(index: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.intp]:
    """Fold indices into 0 … n - 1 about the centres of the border samples (`d c b | a b c d | c b a`)."""
    index = np.abs(index) % max(2 * n - 2, 1)
    return np.minimum(index, 2 * n - 2 - index) if n > 1 else index


@lru_cache(maxsize=64)
def _bilinear_axis(n: int, size: int) -> Axis:
    """The two-tap matrix of `align_corners=False`; coordinates in float32, as torch computes them."""
    scale = np.float32(n) / np.float32(size)
    position = np.maximum(scale * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    first = np.minimum(position.astype(np.intp), n - 1)
    t = position - first.astype(np.float32)
    columns = np.stack([first, np.minimum(first + 1, n - 1)], axis=1)
    return _blocks(columns, np.stack([1 - t, t], axis=1), n, "float32")


def _blocks(columns: npt.NDArray[np.intp], weights: Floats, n: int, precision: str) -> Axis:
    """Cut a matrix, given as `(size, taps)` columns and weights, into dense blocks along its diagonal."""
    blocks = []
    for start in range(0, len(columns), BLOCK):
        taps, values = columns[start : start + BLOCK], weights[start : start + BLOCK]
        low, high = int(taps.min()), int(taps.max()) + 1
        dense = np.zeros((len(taps), high - low))
        np.add.at(dense, (np.arange(len(taps))[:, None], taps - low), values)
        out = slice(start, start + len(taps))
        blocks.append(Block(out, slice(low, high), dense.astype(precision)))
    return tuple(blocks)


def _bilinear_axes(maps: AnyArray, height: int, width: int) -> tuple[Axis, Axis]:
    if min(height, width, *maps.shape[1:]) < 1 or maps.ndim != 3:
        raise UsageError(
            "maps (N, h, w) and a target of at least 1 x 1 pixel",
            f"maps {maps.shape} and a target of {height} x {width}",
            "give the maps of one image and that image's height and width",
        )
    return _bilinear_axis(maps.shape[1], height), _bilinear_axis(maps.shape[2], width)


def _touching(axis: Axis, wanted: npt.NDArray[np.bool_]) -> Axis:
    return tuple(block for block in axis if wanted[block.source].any())


def _tiles(one: AnyArray, rows: Axis, columns: Axis) -> Iterator[tuple[slice, slice, AnyArray]]:
    """The tiles of a resized `(h, w)` map, each with the output rows and columns it belongs to."""
    for row in rows:
        strip = row.weights @ one[row.source]
        for column in columns:
            yield row.out, column.out, strip[:, column.source] @ column.weights.T
