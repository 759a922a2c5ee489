"""How alike two masks are: the Dice coefficient, the normalised surface Dice (NSD), and their summary.

NSD follows Nikolov et al. 2018 ("Deep learning to achieve clinically applicable segmentation of head and neck
anatomy") in two dimensions: the contour lives on the corners between pixels, each corner carries the length
of contour that passes it, and the corners within a tolerance of the other contour are counted by that length.
numpy only, and exact. This module knows nothing of models, cases or limits: a gate decides elsewhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import MeasurementError, UsageError
from .types import Mask

_ROUNDING = 1 + 1e-9  # 3 steps of 0.1 mm must count as within 0.3 mm
_Corners = npt.NDArray[np.uint8]
_Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Summary:
    """A metric over a set of masks: how many, the mean, the 5th percentile and the worst (lowest) value."""

    n: int
    mean: float
    p05: float
    worst: float


def summarise(values: Sequence[float] | npt.NDArray[np.floating]) -> Summary:
    """Summarise a metric where higher is better; percentiles are interpolated linearly.

    Raises:
        MeasurementError: No value at all, or one that is not finite.
    """
    array = np.asarray(values, np.float64).reshape(-1)
    if not array.size or not np.isfinite(array).all():
        found = f"{int((~np.isfinite(array)).sum())} that are not, of {array.size}"
        raise MeasurementError("one finite value or more", found, "leave out the cases without a result")
    return Summary(array.size, float(array.mean()), float(np.percentile(array, 5)), float(array.min()))


def dice(a: Mask, b: Mask) -> float:
    """The Dice coefficient of two masks `(H, W)`: twice the overlap over the sum of the areas.

    Two empty masks agree: 1.0.

    Raises:
        UsageError: The masks differ in shape or are not bool.
    """
    _check(a, b)
    area = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / area if area else 1.0


def surface_dice(a: Mask, b: Mask, tolerance: float = 2.0, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """The share of both contours that lies within `tolerance` of the other contour.

    A mask that touches the image's border has its contour there too. Two empty masks agree: 1.0; one empty
    mask has no contour to be near: 0.0.

    Args:
        a: A mask `(H, W)`.
        b: Another mask of that shape.
        tolerance: Largest distance that still counts, in the unit of `spacing`.
        spacing: Size of a pixel `(row, column)`.

    Raises:
        UsageError: The masks differ in shape or are not bool, the tolerance is negative, or the spacing is
            not positive.
    """
    _check(a, b)
    if not (tolerance >= 0 and all(0 < step < math.inf for step in spacing)):
        raise UsageError("tolerance ≥ 0 and spacing > 0", f"{tolerance} and {spacing}", "correct them")
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    box = _bounding_box(a | b)
    reach = _reach(a[box].shape, tolerance, spacing)
    corners = [_corner_codes(mask[box], reach) for mask in (a, b)]
    lengths = _contour_lengths(spacing)
    steps = _steps_within(tolerance, spacing, reach, corners[0].shape[1])
    within_a, total_a = _lengths_within(corners[0], corners[1], lengths, steps)
    within_b, total_b = _lengths_within(corners[1], corners[0], lengths, steps)
    return (within_a + within_b) / (total_a + total_b)


def _check(a: Mask, b: Mask) -> None:
    if a.shape != b.shape or a.ndim != 2 or a.dtype != bool or b.dtype != bool:
        found = f"{a.dtype} {a.shape} and {b.dtype} {b.shape}"
        raise UsageError("two bool masks of one shape (H, W)", found, "compare masks of the same image")


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _reach(shape: tuple[int, ...], tolerance: float, spacing: tuple[float, float]) -> tuple[int, int]:
    """How many corners away can matter per axis; no two corners are farther apart than the box is long."""
    rows, columns = (int(min(tolerance * _ROUNDING / step, side)) for step, side in zip(spacing, shape, strict=True))
    return rows, columns


def _corner_codes(mask: Mask, reach: tuple[int, int]) -> _Corners:
    """The 2 x 2 neighbourhood of every corner as four bits; 0 and 15 are not on the contour."""
    padded = np.pad(mask, [(reach[0] + 1,) * 2, (reach[1] + 1,) * 2]).astype(np.uint8)
    above = 8 * padded[:-1, :-1] + 4 * padded[:-1, 1:]
    codes: _Corners = (above + 2 * padded[1:, :-1] + padded[1:, 1:]).astype(np.uint8, copy=False)
    codes[codes == 15] = 0
    return codes


def _contour_lengths(spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """The length of contour that passes a corner, by its code."""
    half_diagonal = math.hypot(*spacing) / 2
    lengths = np.full(16, half_diagonal)
    lengths[[0b0000, 0b1111]] = 0
    lengths[[0b1100, 0b0011]] = spacing[1]  # a row filled: the contour runs along the columns
    lengths[[0b1010, 0b0101]] = spacing[0]
    lengths[[0b1001, 0b0110]] = 2 * half_diagonal
    return lengths


def _steps_within(tolerance: float, spacing: tuple[float, float], reach: tuple[int, int], width: int) -> list[int]:
    """Every step in a flattened map of that width that is no longer than the tolerance, the nearest first."""
    rows, columns = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    distances = np.hypot(rows * spacing[0], columns * spacing[1])
    near = distances <= tolerance * _ROUNDING
    order = np.argsort(distances[near], kind="stable")
    return [int(step) for step in (rows * width + columns)[near][order]]


def _lengths_within(
    codes: _Corners, other: _Corners, lengths: npt.NDArray[np.float64], steps: list[int]
) -> tuple[float, float]:
    """The contour length of `codes` that lies near the contour of `other`, and the whole of it."""
    contour, target = codes.reshape(-1), other.reshape(-1) != 0
    corners: _Indices = np.flatnonzero(contour)
    far = corners
    for step in steps:  # the padding of `reach` keeps every step inside the map
        far = far[~target[far + step]]
        if not far.size:
            break
    whole = float(lengths[contour[corners]].sum())
    return whole - float(lengths[contour[far]].sum()), whole
