"""What a person asks of `segment` about DICOM: boxes on slices, a window, which series, which kind of SEG.

Texts are read before a model is opened. Knows nothing of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..boxes import parse_box
from ..errors import BoxError, UsageError
from ..prompts import Box
from ..windows import Window
from .seg_write import KINDS
from .segments import Segment, read_segments
from .voi import HeaderChoice, parse_dicom_window


@dataclass(frozen=True)
class SliceBox:
    """A box in pixels of a slice; the slice counts from 0 and is None where there is one only."""

    box: Box
    on_slice: int | None


@dataclass(frozen=True)
class DicomRequest:
    """The options of `segment` for DICOM.

    Attributes:
        out: Folder for results.
        boxes: Of one object each. Empty: see `boxes_from`.
        boxes_from: A DICOM SEG, or a label map of the one slice.
        window: For gray of more than 8 bits.
        series_uid: Which series of a folder that holds several.
        seg: "binary" or "labelmap" writes a SEG; None writes none.
        segments: Descriptions for its segments; empty gives each a number.
        model: Name of the model, for the SEG.
    """

    out: Path
    boxes: tuple[SliceBox, ...] = ()
    boxes_from: Path | None = None
    window: Window | HeaderChoice | None = None
    series_uid: str | None = None
    seg: str | None = None
    segments: tuple[Segment, ...] = ()
    model: str = "medsam-edge"


def parse_request(
    out: Path,
    boxes: Sequence[str] = (),
    boxes_from: Path | None = None,
    window: str | None = None,
    series_uid: str | None = None,
    seg: str | None = None,
    segments: Path | None = None,
    model: str = "medsam-edge",
) -> DicomRequest:
    """Read what stands on the command line; arguments as the attributes of `DicomRequest`, in text.

    Raises:
        BoxError, UsageError: A text that is not what it should be, or boxes from two sources or none.
        StorageError: The file of segments cannot be read.
    """
    if bool(boxes) == (boxes_from is not None):
        found = f"{len(boxes)} as coordinates{' and more in a file' if boxes_from is not None else ''}"
        raise BoxError("boxes from one source", found, "give either --box or --boxes-from")
    if seg is not None and seg not in KINDS:
        raise UsageError(f"--dicom-seg {' or '.join(KINDS)}", seg, "choose one of these")
    return DicomRequest(
        out=out,
        boxes=tuple(parse_slice_box(text) for text in boxes),
        boxes_from=boxes_from,
        window=None if window is None else parse_dicom_window(window),
        series_uid=series_uid,
        seg=seg,
        segments=() if segments is None else read_segments(segments),
        model=model,
    )


def parse_slice_box(text: str) -> SliceBox:
    """Read `x_min,y_min,x_max,y_max`, or the same with `@slice`.

    Raises:
        BoxError: It is neither.
    """
    numbers, at, where = text.partition("@")
    if at and not where.strip().isdecimal():
        found = f"“{text[:60]}”"
        raise BoxError("a box “x_min,y_min,x_max,y_max@slice”", found, "write it like 10,20,110,95@17")
    return SliceBox(parse_box(numbers), int(where) if at else None)
