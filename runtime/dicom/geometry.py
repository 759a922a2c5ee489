"""Puts slices in order and in space, by their positions alone. SpacingBetweenSlices and SliceThickness are not asked.

Coordinates are DICOM's: millimetres, x to the patient's Left, y to the back (Posterior), z to the head (Superior).
Indices are i for columns, j for rows, k for slices. What is no regular stack is refused with what was found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import DicomError
from .attributes import Cosines, Vector

Affine = npt.NDArray[np.float64]
_COSINE_TOLERANCE = 1e-3
_SAME_ORIENTATION = 1e-4
_SAME_PLACE_MM = 1e-3
_REGULAR = 0.01  # of the spacing


@dataclass(frozen=True, eq=False)
class Stack:
    """Where slices lie.

    Attributes:
        order: Indices of the given slices, along the normal.
        affine: float64 `(4, 4)`, from `(i, j, k, 1)` to millimetres in LPS; voxel centres.
        spacing: Millimetres between slices, rows, columns; the first is None for a single slice.
    """

    order: tuple[int, ...]
    affine: Affine
    spacing: tuple[float | None, float, float]


def stack(positions: Sequence[Vector], orientations: Sequence[Cosines], spacing: tuple[float, float]) -> Stack:
    """Order slices along their common normal and compute their affine.

    Args:
        positions: ImagePositionPatient of each.
        orientations: ImageOrientationPatient of each.
        spacing: Millimetres between rows and between columns, the same for all.

    Raises:
        DicomError: Orientations that differ or are none, two slices in one place, gaps, or a tilted gantry.
    """
    row, column = _axes(orientations)
    normal = np.cross(row, column)
    places = np.asarray(positions, np.float64)
    depths = places @ normal
    order = np.argsort(depths, kind="stable")
    steps = np.diff(depths[order])
    _check_steps(steps, depths[order])
    _check_tilt(places[order], normal)
    between = float(steps.mean()) if len(steps) else None
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    first, last = places[order[0]], places[order[-1]]
    # The ends carry the least rounding; a lone slice gets a unit of depth, so that the affine can be inverted.
    affine[:3, 2] = (last - first) / (len(places) - 1) if between else normal
    affine[:3, 3] = first
    return Stack(tuple(int(index) for index in order), affine, (between, *spacing))


def to_ras(affine: Affine) -> Affine:
    """Carry an affine from DICOM's LPS to the RAS of NIfTI; or back."""
    flipped: Affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return flipped


def _axes(orientations: Sequence[Cosines]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The directions of a row and of a column, checked to be perpendicular, of length 1, and those of every slice."""
    cosines = np.asarray(orientations, np.float64)
    if (apart := np.abs(cosines - cosines[0]).max(axis=1) > _SAME_ORIENTATION).any():
        found = f"{int(apart.sum())} of {len(cosines)} slices that point elsewhere than the first"
        remedy = "name a folder with one stack of slices, without its localizers"
        raise DicomError("slices of one orientation", found, remedy)
    row, column = cosines[0, :3], cosines[0, 3:]
    lengths = (float(np.linalg.norm(row)), float(np.linalg.norm(column)))
    if max(abs(length - 1) for length in lengths) > _COSINE_TOLERANCE or abs(row @ column) > _COSINE_TOLERANCE:
        found = f"lengths {lengths[0]:.4g} and {lengths[1]:.4g}, product {float(row @ column):.4g}"
        raise DicomError("ImageOrientationPatient of two perpendicular unit vectors", found, "export the image again")
    return row, column


def _check_steps(steps: npt.NDArray[np.float64], depths: npt.NDArray[np.float64]) -> None:
    if not len(steps):
        return
    if (same := steps < _SAME_PLACE_MM).any():
        at = depths[int(np.argmax(same))]
        found = f"{int(same.sum()) + 1} or more at {at:.2f} mm along the normal"
        remedy = "choose one phase, echo or reconstruction of the series"
        raise DicomError("each slice in a place of its own", found, remedy)
    usual = float(np.median(steps))
    if (odd := np.abs(steps - usual) > _REGULAR * usual).any():
        index = int(np.argmax(odd))
        found = (
            f"{steps[index]:.3f} mm between {depths[index]:.2f} and {depths[index + 1]:.2f} mm along the normal, "
            f"{int(odd.sum())} such in {len(steps)}"
        )
        remedy = "fetch the missing slices, or segment a slice by naming its file"
        raise DicomError(f"slices {usual:.3f} mm apart, without gaps", found, remedy)


def _check_tilt(places: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]) -> None:
    """Refuse a stack that leans: readers of volumes put its slices beside their place without a word."""
    if len(places) < 2:
        return
    steps = np.diff(places, axis=0)
    along = steps @ normal
    aside = np.linalg.norm(steps - along[:, None] * normal, axis=1)
    if (aside > _REGULAR * along).any():
        degrees = math.degrees(math.atan2(float(aside.max()), float(np.median(along))))
        remedy = "resample the series to an upright stack, or segment a slice by naming its file"
        found = f"a stack that leans by {degrees:.1f} degrees (gantry tilt)"
        raise DicomError("slices that follow each other along their normal", found, remedy)
