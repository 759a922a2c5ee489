"""Reads what belongs to single frames: place, spacing, rescale, windows. From the root, or from functional groups.

An enhanced image keeps these in sequences, for all frames at once or for each. Knows nothing of pixels.
"""

import math
from collections.abc import Sequence
from typing import cast

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ..errors import DicomError
from .attributes import Cosines, FrameHeader, HeaderWindow, Table, Vector
from .look_up import read_table

_INTACT = "export or copy the image again"
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def read_frames(dataset: Dataset, count: int) -> tuple[FrameHeader, ...]:
    """Read the attributes of each frame.

    Raises:
        DicomError: Fewer or more items than frames, or values that are none.
    """
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        root = _frame(dataset, 1, [dataset])
        # A cine's one position, if it has any, is no place of each of its frames.
        return (root,) if count == 1 else tuple(_placeless(root, number) for number in range(1, count + 1))
    items = dataset.PerFrameFunctionalGroupsSequence
    if len(items) != count:
        raise DicomError(f"functional groups for {count} frames", f"{len(items)}", _INTACT)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    return tuple(_frame(dataset, number, [item, *shared]) for number, item in enumerate(items, start=1))


def _frame(root: Dataset, number: int, groups: Sequence[Dataset]) -> FrameHeader:
    position = _find(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _find(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(groups, "PixelMeasuresSequence", "PixelSpacing")
    thickness = _find(groups, "PixelMeasuresSequence", "SliceThickness")
    values = _holder(groups, "PixelValueTransformationSequence", "RescaleSlope")
    windows = _holder(groups, "FrameVOILUTSequence", "WindowCenter")
    millimetres = _numbers(spacing, 2, "PixelSpacing")
    if millimetres and min(millimetres) <= 0:
        raise DicomError("PixelSpacing above 0", f"{millimetres[0]:g} x {millimetres[1]:g}", _INTACT)
    return FrameHeader(
        number=number,
        position=cast(Vector | None, _numbers(position, 3, "ImagePositionPatient")),
        orientation=cast(Cosines | None, _numbers(orientation, 6, "ImageOrientationPatient")),
        spacing=cast(tuple[float, float] | None, millimetres),
        thickness=float(cast(float, thickness)) if thickness not in (None, "") else None,
        rescale=_rescale(values),
        modality_table=next(iter(_tables(root, "ModalityLUTSequence", _is_signed(root))), None),
        windows=_windows(windows),
        # What a VOI table starts from is signed where the modality's output can be.
        voi_tables=_tables(root, "VOILUTSequence", _is_signed(root) or float(root.get("RescaleIntercept") or 0) < 0),
    )


def _placeless(frame: FrameHeader, number: int) -> FrameHeader:
    return FrameHeader(
        number,
        None,
        None,
        frame.spacing,
        frame.thickness,
        frame.rescale,
        frame.modality_table,
        frame.windows,
        frame.voi_tables,
    )


def _holder(groups: Sequence[Dataset], sequence: str, name: str) -> Dataset | None:
    """The data set that holds an attribute: a functional group's item, or the root of a single-frame image."""
    items: list[Dataset] = []
    for group in groups:
        items += [*(group.get(sequence) or ()), group]
    return next((item for item in items if name in item), None)


def _find(groups: Sequence[Dataset], sequence: str, name: str) -> object:
    holder = _holder(groups, sequence, name)
    return None if holder is None else holder.get(name)


def _numbers(value: object, count: int, name: str) -> tuple[float, ...] | None:
    if value is None or value == "":
        return None
    numbers = tuple(float(each) for each in value) if isinstance(value, Sequence | MultiValue) else (math.nan,)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise DicomError(f"{name} of {count} finite numbers", "something else", _INTACT)
    return numbers


def _rescale(holder: Dataset | None) -> tuple[float, float]:
    if holder is None:
        return 1.0, 0.0
    slope, intercept = float(holder.RescaleSlope), float(holder.get("RescaleIntercept") or 0)
    if not math.isfinite(slope) or not math.isfinite(intercept) or slope == 0:
        raise DicomError("a finite rescale slope other than 0", f"{slope:g} and intercept {intercept:g}", _INTACT)
    return slope, intercept


def _windows(holder: Dataset | None) -> tuple[HeaderWindow, ...]:
    if holder is None or "WindowWidth" not in holder:
        return ()
    centers, widths = _listed(holder.WindowCenter), _listed(holder.WindowWidth)
    names = _listed(holder.get("WindowCenterWidthExplanation"))
    names += [""] * (len(centers) - len(names))
    function = str(holder.get("VOILUTFunction") or _FUNCTIONS[0])
    if len(centers) != len(widths) or function not in _FUNCTIONS:
        return ()  # nobody can tell what they mean; asking for one then says that there is none
    return tuple(
        HeaderWindow(float(str(center)), float(str(width)), str(name), function)
        for center, width, name in zip(centers, widths, names, strict=False)
        if float(str(width)) > 0
    )


def _listed(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _is_signed(root: Dataset) -> bool:
    return int(root.get("PixelRepresentation") or 0) == 1


def _tables(root: Dataset, name: str, signed: bool) -> tuple[Table, ...]:
    big_endian = not root.file_meta.TransferSyntaxUID.is_little_endian
    return tuple(read_table(item, signed, big_endian) for item in root.get(name) or ())
