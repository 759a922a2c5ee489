"""Decodes one frame, so that memory holds one and a damaged frame spoils no other.

Decoders are named, never found: one that is installed beside ours by chance must not see these bytes. What a codestream
says of its size is checked before its decoder believes it. Knows nothing of what values mean.
"""

from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from ..backends.choose import install_hint
from ..errors import DicomError, MissingExtraError
from ..types import AnyArray
from .attributes import ImageFile, PixelFormat
from .codestream import codestream_hw
from .header import frame_bits
from .parse import guarded, open_dicom, uid

_JPEG, _JPEG_2000 = "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"
# Transfer syntax to pydicom's name of the decoder, and the package that brings it.
DECODERS = {
    "1.2.840.10008.1.2.4.50": ("pylibjpeg", _JPEG),
    "1.2.840.10008.1.2.4.51": ("pylibjpeg", _JPEG),
    "1.2.840.10008.1.2.4.57": ("pylibjpeg", _JPEG),
    "1.2.840.10008.1.2.4.70": ("pylibjpeg", _JPEG),
    # pyjpegls, which comes with highdicom, does not return for minutes from 4 KB of JPEG-LS that were cut short.
    "1.2.840.10008.1.2.4.80": ("pylibjpeg", _JPEG),
    "1.2.840.10008.1.2.4.81": ("pylibjpeg", _JPEG),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", _JPEG_2000),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", _JPEG_2000),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg", _JPEG_2000),
    "1.2.840.10008.1.2.4.202": ("pylibjpeg", _JPEG_2000),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg", _JPEG_2000),
    str(RLELossless): ("pydicom", "pydicom"),
}
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_RLE_SLACK = 1024
_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


def check_syntax(pixels: PixelFormat) -> None:
    """See that a transfer syntax can be decoded here.

    Raises:
        DicomError: Nobody here decodes it.
        MissingExtraError: The package that would is not installed.
    """
    syntax = uid(pixels.transfer_syntax)
    if pixels.transfer_syntax in NATIVE:
        return
    if pixels.transfer_syntax not in DECODERS:
        known = ", ".join(uid(one).name for one in ("1.2.840.10008.1.2.1", RLELossless, "1.2.840.10008.1.2.4.90"))
        remedy = f"convert it to one that is read, such as {known}"
        raise DicomError("a transfer syntax of still images", f"{syntax.name} ({pixels.transfer_syntax})", remedy)
    plugin, package = DECODERS[pixels.transfer_syntax]
    if plugin not in get_decoder(syntax).available_plugins:
        raise MissingExtraError(f"{package}, which decodes {syntax.name}", "none installed", install_hint("dicom"))


def stored_frame(image: ImageFile, number: int) -> AnyArray:
    """Decode one frame as it is stored; colour comes as RGB whatever its YBR was.

    Args:
        image: Its header.
        number: From 1.

    Returns:
        Integers `(H, W)`, or uint8 `(H, W, 3)`.

    Raises:
        DicomError: Damaged or truncated data, or an unknown transfer syntax.
        MissingExtraError: The decoder's package is not installed.
        StorageError: The file cannot be read any more.
    """
    check_syntax(image.pixels)
    pixels, syntax = image.pixels, uid(image.pixels.transfer_syntax)
    with open_dicom(image.path) as stream, guarded(f"decoding frame {number} of", image.path):
        data = _encoded(stream, image, number) if image.length is None else _native(stream, image, number)
        if image.length is None:
            _check_codestream(data, image)
        plugin = DECODERS[pixels.transfer_syntax][0] if image.length is None else ""
        dataset = _one_frame(pixels, data)
        array, _ = get_decoder(syntax).as_array(dataset, decoding_plugin=plugin)
    expected = (pixels.rows, pixels.columns, *((3,) if pixels.samples == 3 else ()))
    if array.shape != expected:
        raise DicomError(f"a frame of shape {expected}", f"{array.shape} in {image.path}", "export or copy it again")
    return array


def _encoded(stream: BinaryIO, image: ImageFile, number: int) -> bytes:
    stream.seek(image.offset)
    frames = image.pixels.frames
    return get_frame(stream, number - 1, number_of_frames=frames, extended_offsets=image.extended_offsets)


def _native(stream: BinaryIO, image: ImageFile, number: int) -> bytes:
    size = frame_bits(image.pixels) // 8
    stream.seek(image.offset + (number - 1) * size)
    return stream.read(size)


def _check_codestream(data: bytes, image: ImageFile) -> None:
    pixels = image.pixels
    expected, remedy = f"a codestream of {pixels.rows} x {pixels.columns} pixels", "export or copy it again"
    if pixels.transfer_syntax == RLELossless:
        # Two bytes of RLE may become 128, so what is longer than the worst encoder would make is a bomb.
        if len(data) > frame_bits(pixels) // 8 * 65 // 64 + _RLE_SLACK:
            raise DicomError("RLE no longer than its pixels", f"{len(data):,} bytes in {image.path}", remedy)
        return
    found = codestream_hw(data)
    if found is None:
        raise DicomError(expected, f"none that states its size in {image.path}", remedy)
    if found != (pixels.rows, pixels.columns):
        raise DicomError(expected, f"{found[0]} x {found[1]} in {image.path}", remedy)
    # Decoders fill what is cut off, and say nothing.
    if not data.rstrip(b"\0").endswith(_END):
        raise DicomError("a codestream with its end", f"one that was cut short in {image.path}", remedy)


def _one_frame(pixels: PixelFormat, data: bytes) -> Dataset:
    """A data set of one frame, which is all that a decoder needs."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid(pixels.transfer_syntax)
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = pixels.rows, pixels.columns, pixels.samples
    dataset.BitsAllocated, dataset.BitsStored = pixels.bits_allocated, pixels.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = pixels.bits_stored - 1, int(pixels.signed)
    dataset.PhotometricInterpretation = pixels.photometric
    if pixels.samples > 1:
        dataset.PlanarConfiguration = int(pixels.planar)
    dataset.PixelData = encapsulate([data]) if syntax.is_encapsulated else data + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OB" if pixels.bits_allocated == 8 else "OW"
    dataset["PixelData"].is_undefined_length = syntax.is_encapsulated
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    return dataset


def is_padding(stored: AnyArray, pixels: PixelFormat) -> AnyArray:
    """Find the pixels that hold no image, bool `(H, W)`."""
    if pixels.padding is None:
        return np.zeros(stored.shape, np.bool_)
    found: AnyArray = (stored >= pixels.padding[0]) & (stored <= pixels.padding[1])
    return found
