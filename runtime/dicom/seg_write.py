"""Writes DICOM SEG, and lets none leave that does not give the masks back.

The file is built by highdicom, written to a temporary place, read back by two readers, compared voxel by voxel and
place by place, and only then put under its name. It carries the patient and study modules of its source, as the
standard wants.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as SrCode

from ... import __version__
from ..errors import DicomError, UsageError
from ..files import temporary_folder, write_atomic
from ..types import AnyArray
from .parse import guarded
from .seg_check import check_seg
from .segments import Algorithm, Code, Segment
from .series import Series
from .sources import source_images

KINDS = ("binary", "labelmap")
_SERIES_NUMBER = 1000
_SHORT, _LONG = 64, 10240


@dataclass(frozen=True)
class SegmentWritten:
    """A segment as it stands in a file: its number there, its place among those given, label and voxels."""

    number: int
    given: int
    label: str
    voxels: int


@dataclass(frozen=True)
class SegWritten:
    """A SEG on the disk.

    Attributes:
        path: Where.
        kind: "binary" or "labelmap".
        segments: Those that have voxels; numbered from 1 without gaps.
        empty: Labels that were left out for having none: viewers hang on empty segments.
        frames: How many it holds.
    """

    path: str
    kind: str
    segments: tuple[SegmentWritten, ...]
    empty: tuple[str, ...]
    frames: int


def write_seg(
    path: Path,
    series: Series,
    masks: AnyArray,
    segments: Sequence[Segment],
    algorithm: Algorithm,
    kind: str = "binary",
    empty_frames: bool = False,
) -> SegWritten:
    """Write masks of a series as a SEG, whole and proven, or not at all.

    Args:
        path: The file; replaced if it is there.
        series: What the masks lie on.
        masks: Integers `(D, H, W)`, label n for the n-th segment, 0 for none; or bool `(N, D, H, W)`, which may
            overlap in a binary SEG. D is the number of the series' slices, in its order.
        segments: At least as many as there are labels.
        algorithm: What drew them.
        kind: "binary", which every viewer reads, or "labelmap" (Supplement 243, newer).
        empty_frames: Whether to write frames without a voxel too.

    Raises:
        UsageError: Masks and series or segments do not fit, or overlap in a label map.
        DicomError: Nothing to write; or no SEG may refer to such images (see `sources.source_images`).
        DicomSegError: Read back, it was not what went in. Nothing is written.
        StorageError: The file cannot be written.
    """
    path = Path(path)
    if kind not in KINDS:
        raise UsageError(f"a SEG that is {' or '.join(KINDS)}", kind, "choose one of these")
    given = _given(masks, series, len(segments))
    kept = given.kept()
    pixels = given.compact(kept, overlap_allowed=kind == "binary")
    data = _encode(series, pixels, [segments[number - 1] for number in kept], algorithm, kind, empty_frames)
    frames = _proven(data, series, pixels)
    write_atomic(path, data)
    empty = tuple(segment.label for number, segment in enumerate(segments, start=1) if number not in kept)
    return SegWritten(str(path), kind, given.rows(segments), empty, frames)


@dataclass(frozen=True, eq=False)
class _Given:
    """Checked masks and how many voxels each segment has."""

    masks: AnyArray
    counts: tuple[int, ...]

    def kept(self) -> list[int]:
        """Numbers of the segments that have voxels."""
        if not any(self.counts):
            raise DicomError("a mask with voxels", "none in any segment", "write no SEG: an empty one hangs viewers")
        return [number for number, count in enumerate(self.counts, start=1) if count]

    def rows(self, segments: Sequence[Segment]) -> tuple[SegmentWritten, ...]:
        """Describe the kept segments."""
        numbers = enumerate(self.kept(), start=1)
        return tuple(SegmentWritten(at, one, segments[one - 1].label, self.counts[one - 1]) for at, one in numbers)

    def compact(self, kept: Sequence[int], overlap_allowed: bool) -> AnyArray:
        """Labels `(D, H, W)` renumbered to the kept segments; or bool `(N, D, H, W)` where they overlap."""
        dtype = np.uint8 if len(kept) < 256 else np.uint16
        if self.masks.dtype != np.bool_:
            table = np.zeros(len(self.counts) + 1, dtype)
            table[list(kept)] = np.arange(1, len(kept) + 1)
            renumbered: AnyArray = table[self.masks]
            return renumbered
        labels = np.zeros(self.masks.shape[1:], dtype)
        for at, number in enumerate(kept, start=1):
            mask = self.masks[number - 1]
            if (labels[mask] != 0).any():
                if overlap_allowed:
                    return self.masks[[one - 1 for one in kept]]
                found = f"segment {number} over another"
                raise UsageError("masks that do not overlap, for a label map", found, "write a binary SEG")
            labels[mask] = at
        return labels


def _proven(data: bytes, series: Series, pixels: AnyArray) -> int:
    """Read the very bytes back that are to be written; return how many frames they hold."""
    with temporary_folder() as folder:
        probe = folder / "seg.dcm"
        write_atomic(probe, data)
        return check_seg(probe, series, pixels)


def _given(masks: AnyArray, series: Series, segments: int) -> _Given:
    shape = (len(series.slices), *series.image_hw)
    stacked = masks.dtype == np.bool_
    if masks.dtype.kind not in "bui" or (masks.shape[1:] if stacked else masks.shape) != shape:
        expected = f"labels {shape} of integers, or bool (N, {', '.join(map(str, shape))})"
        raise UsageError(expected, f"{masks.dtype} of shape {masks.shape}", "pass masks in the order of the slices")
    if stacked:
        counts = [int(mask.sum()) for mask in masks]
    else:
        if masks.size and int(masks.min()) < 0:
            raise UsageError("labels of 0 or more", f"{masks.min()}", "renumber the labels from 1")
        counts = [] if not masks.any() else np.bincount(masks.ravel().astype(np.int64))[1:].tolist()
    if len(counts) > segments:
        found = f"{segments} for masks of {len(counts)}"
        raise UsageError("a description for each segment", found, "describe each label, in order")
    return _Given(masks, tuple(counts) + (0,) * (segments - len(counts)))


def _encode(
    series: Series, pixels: AnyArray, segments: Sequence[Segment], algorithm: Algorithm, kind: str, empty_frames: bool
) -> bytes:
    """Build the SEG in memory."""
    sources = source_images(series)
    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name[:_SHORT],
        version=(algorithm.version or __version__)[:_SHORT],
        family=codes.cid7162.ArtificialIntelligence,
        parameters={name: value[:_LONG] for name, value in algorithm.parameters.items()} or None,
    )
    with guarded("writing a SEG of", series.path):
        made = Segmentation(
            source_images=sources,
            # highdicom stacks segments last.
            pixel_array=np.moveaxis(pixels, 0, -1).astype(np.uint8) if pixels.ndim == 4 else pixels,
            segmentation_type=kind.upper(),
            segment_descriptions=_descriptions(segments, algorithm, identification),
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="medsam-edge",
            manufacturer_model_name=algorithm.name[:_SHORT],
            software_versions=__version__,
            device_serial_number="0",  # software has none, and the standard wants one
            omit_empty_frames=not empty_frames,
            content_label="SEGMENTATION",
            series_description="Segmentation (medsam-edge)",
        )
        _put_numbers_back(made, series, sources)
        stream = io.BytesIO()
        made.save_as(stream)
        return stream.getvalue()


def _descriptions(
    segments: Sequence[Segment], algorithm: Algorithm, identification: highdicom.AlgorithmIdentificationSequence
) -> list[SegmentDescription]:
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=_concept(segment.category),
            segmented_property_type=_concept(segment.type),
            algorithm_type="AUTOMATIC" if algorithm.automatic else "SEMIAUTOMATIC",
            algorithm_identification=identification,
            tracking_uid=highdicom.UID(),
            tracking_id=segment.label,
        )
        for number, segment in enumerate(segments, start=1)
    ]


def _concept(code: Code) -> SrCode:
    return SrCode(code.value, code.scheme, code.meaning)


def _put_numbers_back(made: Segmentation, series: Series, sources: Sequence[Dataset]) -> None:
    """Refer to frames by their numbers in the source file, where that has several."""
    shared: Any = made.SharedFunctionalGroupsSequence[0]
    if "PixelMeasuresSequence" in shared and "PixelSpacing" not in shared.PixelMeasuresSequence[0]:
        del shared.PixelMeasuresSequence
    if series.slices[0].file.pixels.frames == 1 or len(sources) > 1:
        return
    groups = made.PerFrameFunctionalGroupsSequence
    items = [item for group in groups for item in group.DerivationImageSequence[0].SourceImageSequence]
    # The segments of a frame share one item, which must be numbered once.
    for item in {id(item): item for item in items}.values():
        number = int(item.get("ReferencedFrameNumber") or 1)
        item.ReferencedFrameNumber = series.slices[number - 1].frame.number
