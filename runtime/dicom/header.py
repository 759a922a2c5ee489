"""From a parsed header to `ImageFile`: every attribute that is needed is read once, checked, made plain data.

Sizes are judged here, before a byte of pixel data is read. Knows nothing of decoding or of other files.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.uid import UID

from ..errors import DicomError
from ..pixels import MAX_PIXELS, MAX_SIDE
from .attributes import ImageFile, PixelFormat
from .frame_headers import read_frames
from .look_up import read_palette
from .parse import guarded, open_dicom, read_header, uid

MAX_VALUES = 2**31
MAX_FRAMES = 2**16
_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM_HEAD = 8
_GRAY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
_NOT_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation (SEG)",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map segmentation (SEG)",
    "1.2.840.10008.1.3.10": "a DICOMDIR",
}


def read_image_file(path: Path) -> ImageFile:
    """Read and check the header of one image.

    Raises:
        DicomError: No image, or one whose header is damaged, incomplete, contradictory or beyond a limit.
        StorageError: The file cannot be read.
    """
    image = image_if_any(path)
    if isinstance(image, str):
        raise DicomError("a DICOM image", f"{image} in {path}", "name an image, or a folder of one series")
    return image


def image_if_any(path: Path) -> ImageFile | str:
    """Read the header of one image as `read_image_file`, or say what the file is instead of an image."""
    dataset, end = read_header(path)
    with guarded("reading the header of", path):
        try:
            return not_an_image(dataset) or _image_file(path, dataset, end)
        except DicomError as error:
            raise DicomError(error.expected, f"{error.found} in {path}", error.remedy) from error


def not_an_image(dataset: Dataset) -> str | None:
    """Name what a data set is, if it is no image to segment."""
    sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if sop_class in _NOT_IMAGES:
        return _NOT_IMAGES[sop_class]
    if "Rows" not in dataset:
        return f"no image but {uid(sop_class).name}" if sop_class else "no image"
    return None


def _image_file(path: Path, dataset: Dataset, end: int) -> ImageFile:
    pixels = read_pixel_format(dataset)
    _check_format(pixels)
    offset, length = find_pixel_data(path, end, pixels)
    table = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    return ImageFile(
        path=path,
        modality=str(dataset.get("Modality", "") or "OT"),
        sop_class_uid=_text(dataset, "SOPClassUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or "") or None,
        description=str(dataset.get("SeriesDescription") or ""),
        pixels=pixels,
        palette=read_palette(dataset) if pixels.photometric == _PALETTE else None,
        offset=offset,
        length=length,
        extended_offsets=(table[0], table[1]) if table[0] and table[1] else None,
        frames=read_frames(dataset, pixels.frames),
    )


def read_pixel_format(dataset: Dataset) -> PixelFormat:
    """Read the Image Pixel module; whether it is a format that anybody here takes is judged elsewhere."""
    photometric = _text(dataset, "PhotometricInterpretation")
    signed = _whole(dataset, "PixelRepresentation", (0, 1), default=0) == 1
    samples = _whole(dataset, "SamplesPerPixel", (1, 4), default=1)
    stored = _whole(dataset, "BitsStored", (1, 32))
    high = _whole(dataset, "HighBit", (0, 31), default=stored - 1)
    if high != stored - 1:
        found = f"HighBit {high} with BitsStored {stored}"
        raise DicomError("HighBit one below BitsStored", found, "convert it to another transfer syntax")
    return PixelFormat(
        rows=_whole(dataset, "Rows", (1, 65535)),
        columns=_whole(dataset, "Columns", (1, 65535)),
        frames=_whole(dataset, "NumberOfFrames", (1, 2**31 - 1), default=1),
        samples=samples,
        bits_allocated=_whole(dataset, "BitsAllocated", (1, 64)),
        bits_stored=stored,
        signed=signed,
        photometric=photometric,
        planar=samples > 1 and _whole(dataset, "PlanarConfiguration", (0, 1), default=0) == 1,
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        inverted=photometric == "MONOCHROME1",
        padding=_padding(dataset, signed),
        lossy=str(dataset.get("LossyImageCompression") or "00") == "01",
    )


def _padding(dataset: Dataset, signed: bool) -> tuple[int, int] | None:
    """The range of values without meaning; written as unsigned by some, whatever the pixels are."""
    ends = [dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    values = [int(end) for end in ends if end is not None]
    folded = [value - 65536 if signed and value > 32767 else value for value in values]
    return min(folded), max(folded)


def _check_format(pixels: PixelFormat) -> None:
    known = {1: (*_GRAY, _PALETTE), 3: _COLOUR}.get(pixels.samples, ())
    if pixels.photometric not in known:
        found = f"{pixels.photometric} with {pixels.samples} samples a pixel"
        raise DicomError("a gray, palette, RGB or YBR image", found, "convert it to MONOCHROME2 or RGB")
    allowed = (8, 16, 32) if pixels.photometric in _GRAY else (8, 16) if pixels.samples == 1 else (8,)
    if pixels.bits_allocated not in allowed or pixels.bits_stored > pixels.bits_allocated:
        expected = f"BitsAllocated of {', '.join(map(str, allowed))}, and no more stored than allocated"
        found = f"{pixels.bits_stored} bits of {pixels.bits_allocated}"
        raise DicomError(expected, found, "convert it to 8 or 16 bits allocated")
    check_size(pixels)


def check_size(pixels: PixelFormat) -> None:
    """Refuse what would not fit, before a byte of it is decoded.

    Raises:
        DicomError: Frames that are too large, or too many.
    """
    size = f"{pixels.rows} x {pixels.columns} pixels x {pixels.frames} frames"
    area = pixels.rows * pixels.columns
    if max(pixels.rows, pixels.columns) > MAX_SIDE or area > MAX_PIXELS:
        limit = f"frames of at most {MAX_PIXELS // 2**20} megapixels and {MAX_SIDE} pixels a side"
        raise DicomError(limit, size, "crop it or scale it down")
    if area * pixels.frames * pixels.samples > MAX_VALUES or pixels.frames > MAX_FRAMES:
        limit = f"at most {MAX_VALUES:,} values and {MAX_FRAMES:,} frames in a file"
        raise DicomError(limit, size, "split it into files of fewer frames")


def find_pixel_data(path: Path, end: int, pixels: PixelFormat) -> tuple[int, int | None]:
    """Find the pixel data's value, and see that a native one is as long as it must be.

    Args:
        path: The file.
        end: Where its header ends, as `read_header` says.
        pixels: Its format.

    Returns:
        Offset and length in the stream of `open_dicom`; the length is None where the value is encapsulated.

    Raises:
        DicomError: No integer pixels, or a truncated value.
    """
    syntax = uid(pixels.transfer_syntax)
    with open_dicom(path) as stream:
        stream.seek(end)
        length = _element_length(stream, syntax)
        offset = stream.tell()
        room = stream.seek(0, 2) - offset
    wanted, encapsulated = (frame_bits(pixels) * pixels.frames + 7) // 8, syntax.is_encapsulated
    if encapsulated:  # each frame has at least the head of one item
        wanted, length = _ITEM_HEAD * pixels.frames, room
    if min(length, room) < wanted:
        found = f"{min(length, room):,} bytes for {pixels.rows} x {pixels.columns} x {pixels.frames} frames"
        raise DicomError(
            f"{wanted:,} bytes of pixel data or more", f"a truncated image: {found}", "export or copy it again"
        )
    return offset, None if encapsulated else length


def _element_length(stream: BinaryIO, syntax: UID) -> int:
    """Read the element's head at the stream's position."""
    order = "little" if syntax.is_little_endian else "big"
    head = stream.read(8 if syntax.is_implicit_VR else 12)
    whole = len(head) == (8 if syntax.is_implicit_VR else 12)
    tag = tuple(int.from_bytes(head[at : at + 2], order) for at in (0, 2))  # type: ignore[arg-type]
    if not whole or tag != _PIXEL_DATA:
        found = "floating point pixels" if whole and tag[0] == _PIXEL_DATA[0] else "none"
        raise DicomError("pixel data of integers", found, "name a file that holds an image")
    return int.from_bytes(head[-4:], order)  # type: ignore[arg-type]


def frame_bits(pixels: PixelFormat) -> int:
    """Return the bits of one frame as native transfer syntaxes store it; 4:2:2 shares two of three samples."""
    samples = 2 if pixels.photometric == "YBR_FULL_422" else pixels.samples
    return pixels.rows * pixels.columns * samples * pixels.bits_allocated


def _text(dataset: Dataset, name: str) -> str:
    if value := str(dataset.get(name) or ""):
        return value
    raise missing(name)


def _whole(dataset: Dataset, name: str, limits: tuple[int, int], default: int | None = None) -> int:
    value: Any = dataset.get(name)
    if value is None and default is not None:
        return default
    if value is None:
        raise missing(name)
    if isinstance(value, Sequence) or not math.isfinite(value) or not limits[0] <= int(value) <= limits[1]:
        raise DicomError(f"{name} of {limits[0]} to {limits[1]}", "another value", "export or copy it again")
    return int(value)


def missing(name: str) -> DicomError:
    """Make the error for an attribute that is not there, or empty."""
    return DicomError(
        f"the attribute {name}", "a header without it", "export the image from its scanner or archive again"
    )
