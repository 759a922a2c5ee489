"""Resizing as the source models do it, without the libraries they do it with.

Two maps, both linear and separable, so each is a pair of products with one banded matrix per axis: the image
resize of `skimage.transform.resize(order=3, anti_aliasing=True)` and the mask resize of
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`. The matrices are cached per pair of
sizes. Knows nothing about models, boxes or profiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ImageError, UsageError
from .types import AnyArray, Image, Masks

# Output samples per matrix block: larger wastes products on zeros, smaller wastes calls.
CUBIC_BLOCK, BILINEAR_BLOCK = 32, 128
POLE = np.sqrt(3.0) - 2.0  # of the cubic B-spline prefilter (Unser 1993, part II, table I)
PREFILTER_REACH = {"float32": 13, "float64": 28}  # |POLE| ** reach is below the precision's own rounding
# In exact arithmetic a flat region of 7s stays 7 and truncates to 7. float32 products err by up to 1e-4 and
# would draw 6s, so values this close below an integer are taken to be that integer. The price is another grey
# level in 0.015 % of the other pixels; float64 would need almost no margin but takes twice the time.
MARGIN = {"float32": 1.5e-4, "float64": 1e-9}
CENTRE = 128  # subtracted on the way, because the error grows with the magnitude: this halves it

Floats: TypeAlias = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Block:
    """A run of output samples along one axis and the input samples they are made of.

    Attributes:
        out: The output samples, a block's length or, at the end, fewer.
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
    anti_aliasing=True).astype(np.uint8)`: Gaussian filter along the axes that shrink, cubic spline through
    the filtered samples, clip to the range of the image, truncate. Where the exact result is an integer (flat
    regions between the extremes), that library's own rounding in the last bit decides between two grey levels
    and truncation shows it; this takes the integer, so there the two may differ by 1.

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
    if image.shape[:2] == (size, size):
        planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    elif _is_grey(image):
        plane = _resize_planes(np.ascontiguousarray(image[:, :, :1]), size, np.dtype(dtype))
        planes = np.repeat(plane, 3, axis=0)
    else:
        planes = _resize_planes(image, size, np.dtype(dtype))
    result: Image = planes.transpose(1, 2, 0)
    return result


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


@dataclass(frozen=True)
class Via:
    """A way round: maps are first interpolated to `side` x `side`, of which the top left `crop_hw` is kept."""

    side: int
    crop_hw: tuple[int, int]


def bilinear_above(
    maps: npt.NDArray[np.float32], height: int, width: int, threshold: float, via: Via | None = None
) -> Masks:
    """`bilinear(maps, height, width) > threshold`, without its float maps and without its idle work.

    A weighted mean of values that are all at or below the threshold is not above it, so only the tiles that
    see a larger value are computed: a small structure costs a fraction of a large one.

    Args:
        maps: float32 `(N, h, w)`.
        height: Rows of the result.
        width: Columns of the result.
        threshold: In the unit of the maps.
        via: Interpolate twice, with a crop between; the two are one product of matrices, and no larger map exists.

    Returns:
        bool `(N, height, width)`. Beyond it, memory does not grow with N.

    Raises:
        UsageError: If a side is below 1.
    """
    rows, columns = _bilinear_axes(maps, height, width, via)
    result = np.zeros((len(maps), height, width), np.bool_)
    for one, target in zip(maps, result, strict=True):
        above = one > threshold
        near_rows, near_columns = _touching(rows, above.any(axis=1)), _touching(columns, above.any(axis=0))
        for out_rows, out_columns, tile in _tiles(one, near_rows, near_columns):
            np.greater(tile, threshold, out=target[out_rows, out_columns])
    return result


def _check(image: Image, size: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {image.shape}"
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
    planes = np.empty((channels, size, size), np.uint8)
    low, high = image.min(), image.max()
    for block in rows:
        strip = image[block.source].reshape(-1, width * channels).astype(dtype)
        strip -= CENTRE
        # Transposed, the channels lie beside the columns, so the next product reads each channel in place.
        narrow = (strip.T @ block.weights.T).reshape(width, channels, -1)
        values = _across(narrow, columns, size)
        values += CENTRE + MARGIN[dtype.name]
        planes[:, block.out] = np.clip(values, low, high, out=values)
    return planes


def _across(narrow: Floats, columns: Axis, size: int) -> Floats:
    """Resize the columns of a strip: `(W, C, rows)` to `(C, rows, S)`."""
    values = np.empty((narrow.shape[1], narrow.shape[2], size), narrow.dtype)
    for channel in range(narrow.shape[1]):
        for block in columns:
            np.matmul(narrow[block.source, channel].T, block.weights.T, out=values[channel, :, block.out])
    return values


@lru_cache(maxsize=64)
def _cubic_axis(n: int, size: int, precision: str) -> Axis:
    """The matrix from n samples to `size`, in blocks.

    A row is the cubic B-spline at the output's coordinate, convolved with the prefilter's impulse response
    `-6 z / (1 - z²) z^|k|` (Unser, Aldroubi and Eden 1993, B-spline signal processing, part II) and with the
    Gaussian. All are symmetric, so the mirrored border is exactly a fold of the indices outside the axis.
    """
    position = (np.arange(size) + 0.5) * (n / size) - 0.5
    first = np.floor(position).astype(np.intp)
    reach = np.abs(np.arange(-PREFILTER_REACH[precision], PREFILTER_REACH[precision] + 1))
    response = np.convolve(-6 * POLE / (1 - POLE**2) * POLE**reach, _gaussian_kernel(n, size))
    weights = np.zeros((size, response.size + 3))
    for tap, spline in enumerate(_cubic_spline(position - first)):
        weights[:, tap : tap + response.size] += spline[:, None] * response
    weights /= weights.sum(axis=1, keepdims=True)
    offsets = np.arange(weights.shape[1]) - response.size // 2 - 1
    return _blocks(_mirror(first[:, None] + offsets, n), weights, CUBIC_BLOCK, precision)


def _cubic_spline(t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The cubic B-spline at the four samples around a point `t` in [0, 1) past the second of them."""
    u = 1 - t
    return u**3 / 6, 2 / 3 - t**2 * (2 - t) / 2, 2 / 3 - u**2 * (2 - u) / 2, t**3 / 6


def _gaussian_kernel(n: int, size: int) -> Floats:
    """The anti-aliasing kernel from n samples to `size`, float64, sum 1; `[1.]` unless the axis shrinks.

    sigma is `(n / size - 1) / 2` (scikit-image, transform.resize) and the kernel ends at 4 sigma, rounded to
    whole samples (scipy.ndimage.gaussian_filter1d).
    """
    sigma = max(0.0, (n / size - 1) / 2)
    if sigma <= 1e-15:
        return np.ones(1)
    radius = int(4 * sigma + 0.5)
    kernel: Floats = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    return kernel


def _mirror(index: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.intp]:
    """Fold indices into 0 … n - 1 about the centres of the border samples (`d c b | a b c d | c b a`)."""
    index = np.abs(index) % max(2 * n - 2, 1)
    return np.minimum(index, 2 * n - 2 - index) if n > 1 else index


@lru_cache(maxsize=64)
def _bilinear_axis(n: int, size: int) -> Axis:
    return _blocks(*_bilinear_taps(n, size), BILINEAR_BLOCK, "float32")


@lru_cache(maxsize=64)
def _bilinear_axis_via(n: int, side: int, crop: int, size: int) -> Axis:
    """The matrix from n samples to `side`, of which `crop` are kept, times that from `crop` to `size`: four taps."""
    columns, weights = _bilinear_taps(n, side)
    outer, shares = _bilinear_taps(crop, size)
    both = weights[outer].astype(np.float64) * shares[:, :, None]
    return _blocks(columns[outer].reshape(size, 4), both.reshape(size, 4), BILINEAR_BLOCK, "float32")


def _bilinear_taps(n: int, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """The two taps of `align_corners=False`: `(size, 2)` samples and their weights.

    torch computes the coordinates in float32 with one rounding at the end (fused multiply and subtract); far
    from the origin, exact ones would differ by 2e-5 of a sample.
    """
    scale = np.float64(np.float32(n) / np.float32(size))
    position = np.maximum(scale * (np.arange(size) + 0.5) - 0.5, 0).astype(np.float32)
    first = np.minimum(position.astype(np.intp), n - 1)
    t = position - first.astype(np.float32)
    columns = np.stack([first, np.minimum(first + 1, n - 1)], axis=1)
    return columns, np.stack([1 - t, t], axis=1)


def _blocks(columns: npt.NDArray[np.intp], weights: Floats, length: int, precision: str) -> Axis:
    """Cut a matrix, given as `(size, taps)` columns and weights, into dense blocks along its diagonal."""
    blocks = []
    for start in range(0, len(columns), length):
        taps, values = columns[start : start + length], weights[start : start + length]
        low, high = int(taps.min()), int(taps.max()) + 1
        dense = np.zeros((len(taps), high - low))
        np.add.at(dense, (np.arange(len(taps))[:, None], taps - low), values)
        out = slice(start, start + len(taps))
        blocks.append(Block(out, slice(low, high), dense.astype(precision)))
    return tuple(blocks)


def _bilinear_axes(maps: AnyArray, height: int, width: int, via: Via | None = None) -> tuple[Axis, Axis]:
    if min(height, width, *maps.shape[1:]) < 1 or maps.ndim != 3:
        raise UsageError(
            "maps (N, h, w) and a target of at least 1 x 1 pixel",
            f"maps {maps.shape} and a target of {height} x {width}",
            "give the maps of one image and that image's height and width",
        )
    rows, columns = maps.shape[1:]
    if via is None:
        return _bilinear_axis(rows, height), _bilinear_axis(columns, width)
    return (
        _bilinear_axis_via(rows, via.side, via.crop_hw[0], height),
        _bilinear_axis_via(columns, via.side, via.crop_hw[1], width),
    )


def _touching(axis: Axis, wanted: npt.NDArray[np.bool_]) -> Axis:
    return tuple(block for block in axis if wanted[block.source].any())


def _tiles(one: AnyArray, rows: Axis, columns: Axis) -> Iterator[tuple[slice, slice, AnyArray]]:
    """The tiles of a resized `(h, w)` map, each with the output rows and columns it belongs to."""
    for row in rows:
        strip = row.weights @ one[row.source]
        for column in columns:
            yield row.out, column.out, strip[:, column.source] @ column.weights.T
