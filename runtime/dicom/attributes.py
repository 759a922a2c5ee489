"""What is kept of a DICOM header: how pixels are stored, what their values mean, where each frame lies. No patient.

Plain data, so that nothing behind it needs a DICOM package or can print what it should not.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..types import AnyArray

Vector = tuple[float, float, float]
Cosines = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class PixelFormat:
    """How a file stores its pixels.

    Attributes:
        rows, columns, frames: The size of the image.
        samples: 1 for gray and palette, 3 for colour.
        bits_allocated, bits_stored, signed: The type of a sample.
        photometric: PhotometricInterpretation.
        planar: Whether colour planes follow each other.
        transfer_syntax: Its UID.
        inverted: Whether larger values are darker (MONOCHROME1).
        padding: Lowest and highest stored value that means "no pixel here", or None.
        lossy: Whether the image was ever compressed with loss.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: bool
    transfer_syntax: str
    inverted: bool
    padding: tuple[int, int] | None
    lossy: bool

    @property
    def is_colour(self) -> bool:
        """Whether frames come out as RGB."""
        return self.samples == 3 or self.photometric == "PALETTE COLOR"


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table: `values[0]` is for `first` and below, the last for all above; a palette's rows are RGB."""

    first: int
    values: AnyArray

    def look_up(self, stored: AnyArray) -> AnyArray:
        """Map integers of any shape."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        found: AnyArray = self.values[index]
        return found


@dataclass(frozen=True)
class HeaderWindow:
    """A window that the header offers: centre, width, its name there, and LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    name: str
    function: str


@dataclass(frozen=True, eq=False)
class FrameHeader:
    """One frame's own attributes.

    Attributes:
        number: From 1, within its file.
        position: ImagePositionPatient, the centre of the first pixel in mm (LPS), or None.
        orientation: ImageOrientationPatient, or None.
        spacing: PixelSpacing, mm between rows and between columns, or None.
        thickness: SliceThickness in mm, or None.
        rescale: Slope and intercept of the modality transformation.
        modality_table: The modality LUT, which then stands in for `rescale`.
        windows: Those of the header, in its order.
        voi_tables: VOI LUTs of the header, in its order.
    """

    number: int
    position: Vector | None
    orientation: Cosines | None
    spacing: tuple[float, float] | None
    thickness: float | None
    rescale: tuple[float, float]
    modality_table: Table | None
    windows: tuple[HeaderWindow, ...]
    voi_tables: tuple[Table, ...]


@dataclass(frozen=True, eq=False)
class ImageFile:
    """One DICOM image file.

    Attributes:
        path: Where it is.
        modality: CT, MR, US, …
        sop_class_uid, sop_instance_uid, series_instance_uid: As in the header.
        frame_of_reference_uid: Or None.
        description: SeriesDescription.
        pixels: How pixels are stored.
        palette: RGB for each stored value, uint8 `(n, 3)`, or None.
        offset: Of the pixel data's value in the stream that `open_dicom` gives.
        length: Of that value in bytes; None where it is encapsulated.
        extended_offsets: The extended offset table and its lengths, raw, or None.
        frames: One for each.
    """

    path: Path
    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    description: str
    pixels: PixelFormat
    palette: Table | None
    offset: int
    length: int | None
    extended_offsets: tuple[bytes, bytes] | None
    frames: tuple[FrameHeader, ...]
