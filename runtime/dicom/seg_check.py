"""Reads a SEG back, twice, and compares it with what it was made of: voxels, places, references.

First from the bytes, frame by frame (`seg_file`); then as a volume by highdicom, which places slices by positions. A
header whose SpacingBetweenSlices lies would show in both. A detector is worth what its test shows.
"""

from pathlib import Path

import highdicom
import numpy as np

from ..errors import DicomSegError
from ..types import AnyArray
from .parse import guarded
from .seg_file import SegFile, SegFrame, read_seg_file
from .series import Series

_REMEDY = "report it with the kind of image; nothing was written"
_SPACING_TOLERANCE = 1e-6


def check_seg(path: Path, series: Series, pixels: AnyArray) -> int:
    """Compare a SEG with its masks.

    Args:
        path: The file.
        series: What it was drawn on.
        pixels: Labels `(D, H, W)` or bool `(N, D, H, W)`, in the file's segment numbers.

    Returns:
        How many frames it has.

    Raises:
        DicomSegError: Anything differs.
        DicomError: It cannot be read at all.
    """
    seg = read_seg_file(path)
    _check_frames(seg, series, pixels)
    if series.affine is not None:
        _check_geometry(seg, series)
        _check_volume(path, series, pixels)
    return len(seg.frames)


def _check_frames(seg: SegFile, series: Series, pixels: AnyArray) -> None:
    """Every frame on the slice that it names, at that slice's own position, with its voxels; and none missing."""
    found = np.zeros(_segment_count(pixels) + 1, np.int64)
    for index, frame in enumerate(seg.frames):
        at = series.find(frame.source)
        if at is None:
            raise DicomSegError("frames that refer to their source", f"frame {index + 1} does not", _REMEDY)
        if frame.position != series.slices[at].frame.position and series.affine is not None:
            raise DicomSegError("positions of the source, to the digit", f"frame {index + 1} lies elsewhere", _REMEDY)
        labels = seg.labels(index)
        if not np.array_equal(labels, _expected(pixels, at, frame)):
            raise DicomSegError("the masks that were written", f"other voxels in frame {index + 1}", _REMEDY)
        found += np.bincount(labels.ravel(), minlength=len(found))
    wanted = [int(_mask(pixels, number).sum()) for number in range(1, len(found))]
    if found[1:].tolist() != wanted:
        raise DicomSegError(f"{sum(wanted):,} voxels", f"{int(found[1:].sum()):,}", _REMEDY)


def _check_geometry(seg: SegFile, series: Series) -> None:
    orientation, between = series.slices[0].frame.orientation, series.spacing[0]
    if seg.orientation != orientation or seg.spacing != series.spacing[1:]:
        raise DicomSegError("orientation and PixelSpacing of the source", "others in the SEG", _REMEDY)
    if between is not None and (seg.between is None or abs(seg.between - between) > _SPACING_TOLERANCE * between):
        found = "none" if seg.between is None else f"{seg.between:g}"
        raise DicomSegError(f"SpacingBetweenSlices {between:g}, as the positions say", found, _REMEDY)


def _check_volume(path: Path, series: Series, pixels: AnyArray) -> None:
    """Ask highdicom for a volume of each segment, and look where each of its voxels lies in ours."""
    with guarded("reading back", path):
        seg = highdicom.seg.segread(path)
    for number in range(1, _segment_count(pixels) + 1):
        with guarded("reading back", path):
            volume = seg.get_volume(segment_numbers=[number], allow_missing_positions=True)
        if not _same(volume, series, _mask(pixels, number)):
            raise DicomSegError(f"segment {number} where it was drawn", "highdicom puts it elsewhere", _REMEDY)


def _same(volume: highdicom.Volume, series: Series, mask: AnyArray) -> bool:
    """Whether a volume's voxels, carried by both affines into our indices, are the mask's."""
    assert series.affine is not None
    # Ours takes (column, row, slice), highdicom's (slice, row, column).
    ours = series.affine[:, [2, 1, 0, 3]]
    carry = np.linalg.inv(ours) @ volume.affine
    if len(series.slices) == 1:  # no depth of its own, so the axis has no unit
        carry[0, :3], carry[:3, 0] = (1, 0, 0), (1, 0, 0)
    whole = np.round(carry)
    if np.abs(carry - whole).max() > 1e-3 * max(mask.shape):
        return False
    indices = np.argwhere(volume.array[..., 0] > 0)
    placed = indices @ whole[:3, :3].T.astype(np.int64) + whole[:3, 3].astype(np.int64)
    if len(placed) != int(mask.sum()) or not len(placed):
        return False
    if (placed < 0).any() or (placed >= mask.shape).any():
        return False
    return bool(mask[tuple(placed.T)].all())


def _segment_count(pixels: AnyArray) -> int:
    return len(pixels) if pixels.ndim == 4 else int(pixels.max())


def _mask(pixels: AnyArray, number: int) -> AnyArray:
    mask: AnyArray = pixels[number - 1] if pixels.ndim == 4 else pixels == number
    return mask


def _expected(pixels: AnyArray, at: int, frame: SegFrame) -> AnyArray:
    if frame.segment is None:
        found: AnyArray = pixels[at]
        return found
    number = frame.segment
    mask = pixels[number - 1, at] if pixels.ndim == 4 else pixels[at] == number
    numbered: AnyArray = mask * np.array(number, np.uint16)
    return numbered
