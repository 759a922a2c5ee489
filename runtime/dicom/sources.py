"""The source images as highdicom wants them, with a geometry that cannot lie.

highdicom copies PixelMeasures, SpacingBetweenSlices among them, from the source's header into the SEG, even where the
caller passes others that agree in the plane. So the copies that it is given here carry the spacing of the positions,
one orientation, and nothing that claims a place where there is none. Positions are the source's own.
"""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from ..errors import DicomError
from .header import missing
from .parse import guarded, read_header
from .series import Series, Slice

_EMPTY_IF_ABSENT = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_PLACE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def source_images(series: Series) -> list[Dataset]:
    """Make highdicom's source images: one for each slice, or one with all frames.

    Raises:
        DicomError: The header lacks what a SEG must refer to, or there is no SEG for such images: several frames
            without places, or a kind of image that must have a frame of reference and has none.
    """
    _check_places(series)
    if series.slices[0].file.pixels.frames > 1 or _is_multiframe(series.slices[0].file.path):
        return [_many(series)]
    return [_single(series, one) for one in series.slices]


def _check_places(series: Series) -> None:
    if series.affine is None and len(series.slices) > 1:
        found = f"{len(series.slices)} frames of {series.modality} without positions, such as a cine"
        remedy = "write a SEG of one of its frames (`Series.only`, or one box's @slice)"
        raise DicomError("frames with places in space, for a SEG of several", found, remedy)
    if series.affine is not None and series.slices[0].file.frame_of_reference_uid is None:
        raise missing("FrameOfReferenceUID")


def _is_multiframe(path: Path) -> bool:
    """Whether highdicom will look for functional groups: a matter of the kind of image, not of its frames."""
    from highdicom._standard_utils import is_multiframe_image

    dataset, _ = read_header(path)
    with guarded("reading the header of", path):
        return bool(is_multiframe_image(dataset))


def _header(series: Series, path: Path) -> Dataset:
    dataset, _ = read_header(path)
    with guarded("reading the header of", path):
        if not dataset.get("StudyInstanceUID"):
            raise missing("StudyInstanceUID")
        for name in _EMPTY_IF_ABSENT:
            if name not in dataset:
                setattr(dataset, name, "")
        for name in _PLACE[1:] if series.affine is not None else _PLACE:
            if name in dataset:
                del dataset[name]
        return dataset


def _single(series: Series, one: Slice) -> Dataset:
    dataset = _header(series, one.file.path)
    first = series.slices[0].frame
    if series.affine is None or one.frame.position is None or first.orientation is None:
        return dataset
    dataset.ImagePositionPatient = list(one.frame.position)
    dataset.ImageOrientationPatient = list(first.orientation)
    _measure(dataset, series)
    return dataset


def _many(series: Series) -> Dataset:
    """One image with exactly the frames of the series, in its order; `seg_write` puts the right numbers back."""
    dataset = _header(series, series.slices[0].file.path)
    for name in _GROUPS:
        if name in dataset:
            del dataset[name]
    dataset.NumberOfFrames = len(series.slices)
    shared, first = Dataset(), series.slices[0].frame
    measures = Dataset()
    shared.PixelMeasuresSequence = Items([measures])  # highdicom wants one, if only an empty one
    if first.spacing:
        _measure(measures, series)
    if series.affine is not None and first.orientation is not None:
        shared.PlaneOrientationSequence = _item("ImageOrientationPatient", first.orientation)
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items([_placed(one) for one in series.slices])
    return dataset


def _placed(one: Slice) -> Dataset:
    group = Dataset()
    if one.frame.position is not None:
        group.PlanePositionSequence = _item("ImagePositionPatient", one.frame.position)
    return group


def _item(name: str, values: Sequence[float]) -> Items:
    item = Dataset()
    setattr(item, name, list(values))
    return Items([item])


def _measure(target: Dataset, series: Series) -> None:
    """Set spacings: those that positions give, and the thickness of the header, which places nothing."""
    first = series.slices[0].frame
    if first.spacing is not None:
        target.PixelSpacing = list(first.spacing)
    between = series.spacing[0]
    thickness = first.thickness or between
    target.SliceThickness = thickness
    if between is not None:
        target.SpacingBetweenSlices = format_ds(between)


def format_ds(value: float) -> str:
    """Write a decimal string of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(value)
