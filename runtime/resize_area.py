"""OpenCV's `INTER_AREA` for uint8, in numpy: LiteMedSAM's profile is defined by it, upscaling included.

Where both axes shrink it averages over areas. Where one does not, OpenCV does something else under the same name:
a linear interpolation whose weights depend on the areas, in fixed-point numbers. Both are done here as OpenCV does them
(modules/imgproc/src/resize.cpp), so that a device needs no OpenCV. It knows nothing of profiles.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .types import AnyArray, Image

_Float = npt.NDArray[np.float32]
_NEARLY = 1e-3  # a cell's share of a source pixel below this is left out
_ONE = 2048  # fixed-point unit of a linear weight


def resize_area(image: Image, height: int, width: int) -> Image:
    """Resize uint8 `(H, W, 3)` to `(height, width, 3)`."""
    source_h, source_w = image.shape[:2]
    if (source_h, source_w) == (height, width):
        copied: Image = image.copy()
        return copied
    if height > source_h or width > source_w:
        return _linear(image, height, width)
    if source_h % height == 0 and source_w % width == 0:
        return _blocks(image, source_h // height, source_w // width)
    rows, columns = _area_weights(source_h, height), _area_weights(source_w, width)
    wide = np.einsum("xw,hwc->hxc", columns, image.astype(np.float32), optimize=True)
    small = np.einsum("yh,hxc->yxc", rows, wide, optimize=True)
    return _bytes(np.rint(small))


def _blocks(image: Image, down: int, across: int) -> Image:
    """Average whole blocks; OpenCV rounds the half of a 2 x 2 block up, and of all others to even."""
    height, width, channels = image.shape
    parts = image.reshape(height // down, down, width // across, across, channels)
    total = parts.sum(axis=(1, 3), dtype=np.int64)
    if (down, across) == (2, 2):
        return _bytes((total + 2) >> 2)
    return _bytes(np.rint(total.astype(np.float32) * np.float32(1 / (down * across))))


@lru_cache(maxsize=64)
def _area_weights(source: int, target: int) -> _Float:
    """Return `(target, source)`: the share of each source pixel in each target cell; a row sums to 1."""
    scale = source / target
    weights = np.zeros((target, source), np.float32)
    for cell in range(target):
        start, end = cell * scale, (cell + 1) * scale
        extent = min(scale, source - start)
        last = min(int(np.floor(end)), source - 1)
        first = min(int(np.ceil(start)), last)
        if first - start > _NEARLY:
            weights[cell, first - 1] = (first - start) / extent
        weights[cell, first:last] = 1 / extent
        if end - last > _NEARLY:
            weights[cell, last] += min(end - last, 1.0, extent) / extent
    return weights


def _linear(image: Image, height: int, width: int) -> Image:
    """Interpolate with OpenCV's two roundings: 11-bit weights along rows, then 16-bit products along columns."""
    left, right, far = _linear_weights(image.shape[1], width)
    top, bottom, low = _linear_weights(image.shape[0], height)
    pixels = image.astype(np.int64)
    rows = pixels[:, left] * (_ONE - far)[:, None] + pixels[:, right] * far[:, None]
    upper = ((_ONE - low)[:, None, None] * (rows[top] >> 4)) >> 16
    lower = (low[:, None, None] * (rows[bottom] >> 4)) >> 16
    return _bytes((upper + lower + 2) >> 2)


def _bytes(values: AnyArray) -> Image:
    limited: Image = np.clip(values, 0, 255).astype(np.uint8)
    return limited


@lru_cache(maxsize=64)
def _linear_weights(source: int, target: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Return for each target cell its two source pixels and the weight of the second, in units of 1 / 2048."""
    scale, inverse = source / target, target / source
    cells = np.arange(target)
    first = np.floor(cells * scale).astype(np.int64)
    share = ((cells + 1) - (first + 1) * inverse).astype(np.float32)
    share = np.where(share <= 0, np.float32(0), share - np.floor(share))
    share = np.where(first >= source - 1, np.float32(0), share)
    first = np.minimum(first, source - 1)
    weight = np.rint(share * np.float32(_ONE)).astype(np.int64)
    return first, np.minimum(first + 1, source - 1), weight
