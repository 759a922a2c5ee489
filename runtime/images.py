"""Reads an image from a file into the one form that every profile accepts: uint8 RGB, (H, W, 3).

What cannot be taken as it is, is refused with the way to mend it: a silent conversion (16 to 8 bit, a dropped
alpha channel, a slice picked from a volume) would change the mask without a trace. Size and type are judged
from the header, before anything is decoded. Knows nothing about models, profiles or boxes.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .arrays import ArrayArchive, read_npy
from .errors import ImageError, UsageError
from .files import open_file
from .pixels import EIGHT_BIT, GRAY_OR_RGB, WINDOW, accept_pixels, as_image, check_size
from .tiff import check_samples, check_upright, tile_size
from .types import AnyArray, Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz")

_INTACT = "copy or export the image again"

# What Pillow's decoders raise on damaged files. Warning: it warns about odd metadata, and some programs turn
# warnings into errors. DecompressionBombError: a TIFF whose tile is larger than its image.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    AttributeError,
    struct.error,
    zlib.error,
    Warning,
    PIL.Image.DecompressionBombError,
)
_TIFF_BITS, _TIFF_SAMPLE_FORMAT = 258, 339


def read_image(path: Path) -> Image:
    """Read a PNG, JPEG, TIFF, .npy or .npz (key `imgs`) image.

    The content decides how a file is read, not its suffix. Pixels are taken as stored: a JPEG's or PNG's EXIF
    orientation is not applied, since a mask must lie on the stored pixels (a TIFF that asks for rotation is
    refused: Pillow would apply it). Gray is repeated into three channels as MedSAM does; palette and 1-bit
    images become RGB. Colour profiles and gamma are ignored. Safe to call from several threads: no global
    setting of Pillow is touched.

    Returns:
        uint8 `(H, W, 3)`, RGB, writable.

    Raises:
        ImageError: An image that must not be used as it is: more than 8 bits, floating point, an alpha
            channel, CMYK, several pages, a volume, too large, damaged, or an unknown format.
        StorageError: The file is missing, a folder, or may not be read.
    """
    path = Path(path)
    with open_file(path) as stream:
        try:
            _check_suffix(path)
            return np.array(as_image(_read_pixels(stream)))
        except UsageError as error:
            raise ImageError(error.expected, f"{error.found} in {path}", error.remedy) from error


def _check_suffix(path: Path) -> None:
    """Refuse a file that was never meant as an image here."""
    if path.suffix.lower() not in SUFFIXES:
        found = f"the suffix “{path.suffix}”" if path.suffix else "no suffix"
        raise ImageError(f"one of {', '.join(SUFFIXES)}", found, "convert the image to one of these formats")


def _read_pixels(stream: BinaryIO) -> AnyArray:
    """Choose the reader by the first bytes; no other decoder ever sees the file."""
    head = stream.read(26)
    stream.seek(0)
    if head.startswith(b"\x93NUMPY"):
        return read_npy(stream, accept_pixels)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ArrayArchive(stream).read("imgs", accept_pixels)
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _read_png(stream, head)
        if head.startswith(b"\xff\xd8\xff"):
            return _pixels_of(JpegImageFile(stream))
        if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _read_tiff(stream)
    except DAMAGE as error:
        raise ImageError("an intact image", f"damaged or truncated data ({error})", _INTACT) from error
    raise ImageError("a PNG, JPEG, TIFF, .npy or .npz file", _describe_head(head), "check what the file really is")


def _describe_head(head: bytes) -> str:
    """Name an unknown file by how it starts."""
    if not head:
        return "an empty file"
    if head[0] == 0x80:
        return "a Python pickle, which may run code when loaded,"
    return f"content that begins with {head[:8]!r}"


def _read_png(stream: BinaryIO, head: bytes) -> AnyArray:
    """Refuse 16 bits, which Pillow would cut to 8 without a word, and pixels whose checksum is wrong."""
    image = PngImageFile(stream)
    depth = head[24]
    if depth > 8:
        raise ImageError(EIGHT_BIT, f"{depth} bits per channel", WINDOW)
    check_size(image.height, image.width)
    image.verify()
    stream.seek(0)  # verify leaves the image unusable
    return _pixels_of(PngImageFile(stream))


def _read_tiff(stream: BinaryIO) -> AnyArray:
    """Refuse what only a TIFF can be: deep, floating point, rotated at load, or made of giant tiles."""
    check_samples(stream)
    image = TiffImageFile(stream)
    tags = image.tag_v2
    bits, kinds = tags.get(_TIFF_BITS, (1,)), tags.get(_TIFF_SAMPLE_FORMAT, (1,))
    if max(bits) > 8 or max(kinds) > 1:
        kind = {2: "signed integers", 3: "floating point"}.get(max(kinds), "integers")
        raise ImageError(EIGHT_BIT, f"{max(bits)}-bit {kind}", WINDOW)
    check_size(*tile_size(image))
    check_size(image.height, image.width)
    check_upright(image)
    return _pixels_of(image)


def _pixels_of(image: PIL.Image.Image) -> AnyArray:
    """Decode an opened image, once its header is acceptable."""
    check_size(image.height, image.width)
    if (pages := getattr(image, "n_frames", 1)) != 1:
        remedy = "split it and pass one page; volumes are not supported by this verb"
        raise ImageError("a file with one image", f"{pages} pages or frames", remedy)
    if image.mode not in ("1", "L", "P", "RGB"):
        raise ImageError(GRAY_OR_RGB, *_describe_mode(image))
    if "transparency" in image.info:
        remedy = "flatten it onto a background and save it without transparency"
        raise ImageError(GRAY_OR_RGB, "transparent colours", remedy)
    gray = image.mode in ("1", "L")
    return np.asarray(image.convert("L" if gray else "RGB"))


def _describe_mode(image: PIL.Image.Image) -> tuple[str, str]:
    """What is wrong with a Pillow mode, and its remedy."""
    channels = len(image.getbands())
    found = f"{channels} channels ({image.mode})"
    if image.mode.endswith(("A", "a")):
        return found, "flatten it onto a background and save it without the alpha channel"
    if channels == 1:
        return f"pixels of type {image.mode}", WINDOW
    return found, "convert it to RGB or gray, and check that it still looks right"
