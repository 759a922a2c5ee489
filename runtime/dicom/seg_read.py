"""Lays an existing SEG over a series: which slice each of its frames belongs to, by reference or else by place.

It is how boxes are taken from a SEG. A SEG that matches no slice is refused: boxes in the wrong place would go unseen.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DicomError
from ..types import AnyArray, Masks
from .seg_file import SegFile, SegFrame, read_seg_file
from .series import Series

_SAME_PLACE_MM = 0.01
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True, eq=False)
class SliceMasks:
    """What a SEG holds for one slice: segment numbers with their labels, and masks bool `(N, H, W)`, none empty."""

    numbers: tuple[int, ...]
    labels: tuple[str, ...]
    masks: Masks


def read_seg(path: Path, series: Series) -> dict[int, SliceMasks]:
    """Read the masks of a SEG slice by slice.

    Args:
        path: A binary or label map SEG.
        series: The images it was drawn on, or others in the same places.

    Returns:
        Slice index to its masks; slices without any are left out.

    Raises:
        DicomError: No SEG, of another size, or one whose frames lie on no slice of the series.
        StorageError: It cannot be read.
    """
    seg = read_seg_file(Path(path))
    pixels = seg.image.pixels
    if (pixels.rows, pixels.columns) != series.image_hw:
        found = f"{pixels.rows} x {pixels.columns} in {path}"
        raise DicomError(f"a SEG of {series.image_hw[0]} x {series.image_hw[1]} pixels", found, "name this image's SEG")
    found_masks: dict[int, dict[int, AnyArray]] = {}
    for index, frame in enumerate(seg.frames):
        if (at := slice_of(frame, seg, series)) is not None:
            _add(found_masks.setdefault(at, {}), seg.labels(index))
    if not any(found_masks.values()):
        found = f"{len(seg.frames)} frames elsewhere, or empty, in {path}"
        raise DicomError(f"a SEG drawn on {series.path.name}", found, "name the SEG of this series")
    return {at: _stacked(masks, seg) for at, masks in sorted(found_masks.items()) if masks}


def slice_of(frame: SegFrame, seg: SegFile, series: Series) -> int | None:
    """Find the slice of a frame: the one it refers to, else the one in its place; None if there is none."""
    if (referred := series.find(frame.source)) is not None:
        return referred
    same_frame = seg.frame_of_reference_uid == series.slices[0].file.frame_of_reference_uid
    if frame.position is None or seg.orientation is None or series.affine is None or not same_frame:
        return None
    orientation = series.slices[0].frame.orientation
    assert orientation is not None  # a series with an affine has one
    if np.abs(np.subtract(seg.orientation, orientation)).max() > _SAME_DIRECTION:
        return None
    if seg.spacing is None or not np.allclose(seg.spacing, series.spacing[1:], rtol=1e-4):  # type: ignore[arg-type]
        return None
    places = np.array([one.frame.position for one in series.slices])
    distances = np.linalg.norm(places - np.array(frame.position), axis=1)
    nearest = int(distances.argmin())
    return nearest if distances[nearest] < _SAME_PLACE_MM else None


def _add(masks: dict[int, AnyArray], labels: AnyArray) -> None:
    """Add every segment of a frame; two frames of one segment and place are joined."""
    for number in np.unique(labels[labels > 0]).tolist():
        mask = labels == number
        masks[number] = mask | masks[number] if number in masks else mask


def _stacked(masks: dict[int, AnyArray], seg: SegFile) -> SliceMasks:
    numbers = tuple(sorted(masks))
    labels = tuple(seg.segments.get(number, "") for number in numbers)
    return SliceMasks(numbers, labels, np.stack([masks[number] for number in numbers]))
