"""Reads a DICOM SEG without highdicom: every frame's segment, source, place and mask, straight from the bytes.

So that what highdicom wrote is not checked by highdicom alone. Knows nothing of what a mask should be.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydicom.dataset import Dataset

from ..errors import DicomError
from ..types import AnyArray
from .attributes import Cosines, ImageFile, Vector
from .frames import stored_frame
from .header import check_size, find_pixel_data, read_pixel_format
from .parse import guarded, open_dicom, read_header, uid

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True)
class SegFrame:
    """One frame: its segment (None in a label map), the SOPInstanceUID and frame number it was drawn on, its place."""

    segment: int | None
    source: tuple[str, int] | None
    position: Vector | None


@dataclass(frozen=True, eq=False)
class SegFile:
    """A parsed SEG.

    Attributes:
        image: Path and pixel format; its frames' own attributes are in `frames`.
        segments: Number to label.
        frames: In the order of the file.
        orientation, spacing, between: What all frames share: ImageOrientationPatient, PixelSpacing,
            SpacingBetweenSlices; or None.
        frame_of_reference_uid: Or None.
    """

    image: ImageFile
    segments: dict[int, str]
    frames: tuple[SegFrame, ...]
    orientation: Cosines | None
    spacing: tuple[float, float] | None
    between: float | None
    frame_of_reference_uid: str | None

    @property
    def is_labelmap(self) -> bool:
        """Whether frames hold segment numbers instead of one segment's mask."""
        return self.image.sop_class_uid == LABELMAP

    def labels(self, index: int) -> AnyArray:
        """Decode a frame: segment numbers `(H, W)`, 0 for none.

        Raises:
            DicomError: Damaged data.
        """
        pixels, segment = self.image.pixels, self.frames[index].segment
        if pixels.bits_allocated != 1:
            stored = stored_frame(self.image, index + 1)
            return stored if segment is None else np.where(stored > 0, segment, 0)
        size = pixels.rows * pixels.columns
        first = index * size
        with open_dicom(self.image.path) as stream:
            stream.seek(self.image.offset + first // 8)
            data = stream.read((first % 8 + size + 7) // 8)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[first % 8 :][:size]
        return bits.reshape(pixels.rows, pixels.columns) * np.array(segment, np.uint16)


def read_seg_file(path: Path) -> SegFile:
    """Parse a SEG and check that its frames can be decoded.

    Raises:
        DicomError: No SEG, a fractional one, or a damaged one.
        StorageError: It cannot be read.
    """
    dataset, end = read_header(path)
    with guarded("reading the header of", path):
        try:
            return _seg_file(path, dataset, end)
        except DicomError as error:
            raise DicomError(error.expected, f"{error.found} in {path}", error.remedy) from error


def _seg_file(path: Path, dataset: Dataset, end: int) -> SegFile:
    kind = str(dataset.get("SOPClassUID", ""))
    if kind not in (BINARY, LABELMAP):
        raise DicomError("a DICOM SEG", uid(kind).name or "something else", "name a segmentation object")
    if dataset.get("SegmentationType") not in ("BINARY", "LABELMAP"):
        found = str(dataset.get("SegmentationType"))
        raise DicomError("a SEG of type BINARY or LABELMAP", found, "threshold the fractional masks first")
    image = _image(path, dataset, end, kind)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(groups) != image.pixels.frames:
        found = f"{len(groups)} of them"
        raise DicomError(f"functional groups for {image.pixels.frames} frames", found, "export or copy it again")
    measures = _first(shared, "PixelMeasuresSequence") or Dataset()
    spacing, between = measures.get("PixelSpacing"), measures.get("SpacingBetweenSlices")
    orientation = (_first(shared, "PlaneOrientationSequence") or Dataset()).get("ImageOrientationPatient")
    return SegFile(
        image=image,
        segments={int(item.SegmentNumber): str(item.SegmentLabel) for item in dataset.SegmentSequence},
        frames=tuple(_frame(group, shared, kind) for group in groups),
        orientation=cast(Cosines, tuple(map(float, orientation))) if orientation else None,
        spacing=(float(spacing[0]), float(spacing[1])) if spacing else None,
        between=float(between) if between is not None else None,
        frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or "") or None,
    )


def _image(path: Path, dataset: Dataset, end: int, kind: str) -> ImageFile:
    pixels = read_pixel_format(dataset)
    allowed = (1,) if dataset.SegmentationType == "BINARY" else (8, 16)
    encapsulated = uid(pixels.transfer_syntax).is_encapsulated
    if pixels.bits_allocated not in allowed or pixels.samples != 1 or (encapsulated and allowed == (1,)):
        found = f"{pixels.bits_allocated} bits, {uid(pixels.transfer_syntax).name}"
        raise DicomError("uncompressed bits of a binary SEG, or 8 or 16 of a label map", found, "convert it")
    check_size(pixels)
    offset, length = find_pixel_data(path, end, pixels)
    table = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    return ImageFile(
        path=path,
        modality="SEG",
        sop_class_uid=kind,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        frame_of_reference_uid=None,
        description="",
        pixels=pixels,
        palette=None,
        offset=offset,
        length=length,
        extended_offsets=(table[0], table[1]) if table[0] and table[1] else None,
        frames=(),
    )


def _first(group: Dataset, name: str) -> Any:  # noqa: ANN401 - pydicom's items are untyped
    items = group.get(name)
    return items[0] if items else None


def _frame(group: Dataset, shared: Dataset, kind: str) -> SegFrame:
    segment = _first(group, "SegmentIdentificationSequence") or _first(shared, "SegmentIdentificationSequence")
    derivation = _first(group, "DerivationImageSequence") or _first(shared, "DerivationImageSequence")
    source = _first(derivation, "SourceImageSequence") if derivation is not None else None
    place = _first(group, "PlanePositionSequence") or _first(shared, "PlanePositionSequence")
    if kind == BINARY and segment is None:
        raise DicomError("a segment for each frame", "a frame without one", "export or copy it again")
    position = place.get("ImagePositionPatient") if place is not None else None
    return SegFrame(
        segment=None if kind == LABELMAP else int(segment.ReferencedSegmentNumber),
        source=None if source is None else _reference(source),
        position=cast(Vector, tuple(map(float, position))) if position else None,
    )


def _reference(item: Dataset) -> tuple[str, int]:
    number = item.get("ReferencedFrameNumber")
    if number is not None and not isinstance(number, int | str):
        number = number[0]
    return str(item.ReferencedSOPInstanceUID), int(number or 1)
