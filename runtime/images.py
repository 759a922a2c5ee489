"""Reads an image from a file or an array into the one form that every profile accepts: uint8 RGB, (H, W, 3).

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

from .arrays import ArrayArchive, ArrayHeader, read_npy
from .errors import ImageError, UsageError
from .files import open_file
from .tiff import check_samples, check_upright, tile_size
from .types import AnyArray, Image

MAX_SIDE = 16384
MAX_PIXELS = 8192 * 8192  # 64 megapixels: 192 MiB as RGB
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz")

WINDOW = (
    "add --window abdomen, lung, brain, mediastinum, mr or CENTER,WIDTH to `segment` if it is gray; or "
    "window it to 8 bit first, as MedSAM's training images were "
    "(CT soft tissue: level 40, width 400, so clip to -160..240), scale to 0..255 and cast to uint8"
)
_GRAY_OR_RGB = "a gray or RGB image"
_EIGHT_BIT = "an 8-bit image (uint8)"
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


def as_image(array: object) -> Image:
    """Check an array that a caller hands over, and repeat gray into three channels.

    Args:
        array: uint8 `(H, W)`, `(H, W, 1)` or `(H, W, 3)` in RGB order.

    Returns:
        uint8 `(H, W, 3)`, contiguous; shares memory with `array` where nothing had to change.

    Raises:
        ImageError: Another type, dtype or shape, an empty image, or one that is too large.
    """
    if not isinstance(array, np.ndarray):
        remedy = "pass an array (numpy.asarray; a Pillow image must be in mode L or RGB first)"
        raise ImageError("a NumPy array", f"{type(array).__name__}", remedy)
    _check_dtype(array)
    _check_shape(array.shape)
    gray = array.ndim == 2 or array.shape[2] == 1
    if gray:
        array = np.broadcast_to(array.reshape(*array.shape[:2], 1), (*array.shape[:2], 3))
    return np.ascontiguousarray(array)


def _check_dtype(array: AnyArray) -> None:
    """Refuse all but uint8, and say how many values are not even numbers."""
    found = f"{array.dtype}"
    if array.dtype.kind == "f" and (broken := int(array.size - np.isfinite(array).sum())):
        found += f" with {broken:,} NaN or infinite values"
    _check_type(array.dtype, found)


def _check_type(dtype: np.dtype[np.generic], found: str) -> None:
    """Refuse all but uint8."""
    if dtype.kind == "b":
        raise ImageError(_EIGHT_BIT, f"{found}", "multiply it by 255 and cast to uint8 if it is an image, not a mask")
    if dtype.kind not in "iuf":
        raise ImageError(_EIGHT_BIT, f"values of type {found}", "pass an array of plain numbers, uint8")
    if dtype != np.uint8:
        raise ImageError(_EIGHT_BIT, f"{found}", WINDOW)


def _check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is not one gray or RGB image with the channels last."""
    if len(shape) not in (2, 3):
        raise ImageError(f"{_GRAY_OR_RGB}, (H, W) or (H, W, 3)", f"shape {shape}", "pass one image at a time")
    if len(shape) == 3 and shape[2] not in (1, 3):
        raise ImageError(f"{_GRAY_OR_RGB}, (H, W) or (H, W, 3)", *_describe_channels(shape))
    check_size(shape[0], shape[1])


def _describe_channels(shape: tuple[int, ...]) -> tuple[str, str]:
    """What the third axis probably is, and its remedy."""
    if shape[2] in (2, 4, 5):
        remedy = "drop the alpha or extra channels after deciding what they mean, or convert CMYK to RGB"
        return f"{shape[2]} channels, shape {shape}", remedy
    if shape[0] == 3:
        remedy = "use array.transpose(1, 2, 0) if the channels come first, or pass one slice of a volume"
        return f"three planes first, shape {shape}", remedy
    return f"a volume of shape {shape}", "pass one slice (H, W); volumes are not supported by this verb"


def check_size(height: int, width: int) -> None:
    """Refuse an image without pixels or with so many that a device would run out of memory.

    Raises:
        ImageError: A side is 0, above `MAX_SIDE`, or the area is above `MAX_PIXELS`.
    """
    if min(height, width) < 1:
        raise ImageError("an image with pixels", f"{height} x {width} (height x width)", _INTACT)
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        limit = f"an image of at most {MAX_PIXELS // 2**20} megapixels and {MAX_SIDE} pixels a side"
        remedy = "crop it or cut it into tiles, or scale it down"
        raise ImageError(limit, f"{height} x {width} pixels (height x width)", remedy)


def accept_pixels(header: ArrayHeader) -> None:
    """Judge a stored array by its header, for `arrays.read_npy`."""
    _check_type(header.dtype, f"{header.dtype}")
    _check_shape(header.shape)


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
        raise ImageError(_EIGHT_BIT, f"{depth} bits per channel", WINDOW)
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
        raise ImageError(_EIGHT_BIT, f"{max(bits)}-bit {kind}", WINDOW)
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
        raise ImageError(_GRAY_OR_RGB, *_describe_mode(image))
    if "transparency" in image.info:
        remedy = "flatten it onto a background and save it without transparency"
        raise ImageError(_GRAY_OR_RGB, "transparent colours", remedy)
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
