"""Reads what a scanner gives: one gray image of more than 8 bits, its values exactly as they are stored.

For use with a window (see `windows`), which says what they mean. Pillow would cut or wrap some of them without a word;
those are refused. 8-bit images are `images`' business. Knows nothing of windows.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .arrays import ArrayHeader, read_npy
from .errors import ImageError, UsageError
from .files import open_file
from .images import DAMAGE
from .pixels import check_size
from .tiff import check_samples, check_upright, first_directory, tile_size
from .types import AnyArray

_WANTED = "a gray image of more than 8 bits: .npy, 16-bit PNG, or TIFF"
_AS_NPY = "save the values with numpy.save as .npy"
_NO_WINDOW = "leave out --window: 8-bit images are taken as they are"
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
# Bits and sample format to the type of the values; Pillow holds these exactly. It would wrap unsigned 32 bits.
_TIFF_TYPES = {(16, _UNSIGNED): np.uint16, (16, _SIGNED): np.int16, (32, _SIGNED): np.int32, (32, _FLOAT): np.float32}


def read_raw(path: Path) -> AnyArray:
    """Read one gray image of more than 8 bits.

    Returns:
        `(H, W)`, integers or floats in the type that the file states.

    Raises:
        ImageError: Another kind of file, 8 bits, several channels, pages or slices, a type that cannot be held
            exactly, too large, or damaged.
        StorageError: The file is missing, a folder, or may not be read.
    """
    with open_file(path) as stream:
        try:
            return _read(stream)
        except UsageError as error:
            raise ImageError(error.expected, f"{error.found} in {path}", error.remedy) from error
        except DAMAGE as error:
            found = f"damaged or truncated data ({error}) in {path}"
            raise ImageError("an intact image", found, "copy or export the image again") from error


def _read(stream: BinaryIO) -> AnyArray:
    head = stream.read(26)
    stream.seek(0)
    if head.startswith(b"\x93NUMPY"):
        values = read_npy(stream, _accept)
        return values.reshape(values.shape[:2])
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) == 26:
        return _read_png(stream, depth=head[24], kind=head[25])
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return _read_tiff(stream)
    raise ImageError(_WANTED, "another kind of file", "leave out --window, or save the image as one of these")


def _accept(header: ArrayHeader) -> None:
    shape, dtype = header.shape, header.dtype
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 1):
        raise ImageError("a gray image (H, W)", f"shape {shape}", "pass one slice or one channel at a time")
    if dtype == np.uint8 or dtype.kind == "b":
        raise ImageError(_WANTED, f"{dtype}", _NO_WINDOW)
    if dtype.kind not in "iuf":
        raise ImageError(_WANTED, f"values of type {dtype}", "save plain integers or floats")
    check_size(shape[0], shape[1])


def _read_png(stream: BinaryIO, depth: int, kind: int) -> AnyArray:
    """Read gray of 16 bits; the checksums are verified first."""
    if depth <= 8:
        raise ImageError(_WANTED, f"a PNG of {depth} bits per channel", _NO_WINDOW)
    if kind != 0:
        found = "colours or an alpha channel of 16 bits"
        raise ImageError(_WANTED, found, "save one gray channel")
    image = PngImageFile(stream)
    check_size(image.height, image.width)
    image.verify()
    stream.seek(0)  # verify leaves the image unusable
    return _values(PngImageFile(stream), np.dtype(np.uint16))


def _read_tiff(stream: BinaryIO) -> AnyArray:
    check_samples(stream)
    tags = first_directory(stream)
    bits, kinds = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    if max(bits) <= 8 and max(kinds) == _UNSIGNED:
        raise ImageError(_WANTED, f"a TIFF of {max(bits)} bits per channel", _NO_WINDOW)
    dtype = _TIFF_TYPES.get((bits[0], kinds[0]))
    if len(bits) != 1 or dtype is None:
        found = f"{len(bits)} channels of {max(bits)} bits, sample format {kinds[0]}"
        raise ImageError("one channel of 16-bit integers, 32-bit signed integers or 32-bit floats", found, _AS_NPY)
    if tags.get(_PHOTOMETRIC) == 0:
        found = "one that is shown inverted (photometric interpretation 0)"
        raise ImageError("a TIFF in which larger values are brighter", found, "invert it and save it again")
    image = TiffImageFile(stream)
    check_size(*tile_size(image))
    check_size(image.height, image.width)
    check_upright(image)
    return _values(image, np.dtype(dtype))


def _values(image: PngImageFile | TiffImageFile, dtype: np.dtype[np.generic]) -> AnyArray:
    """Decode; Pillow may hold 16 bits in 32, from which they come back unchanged."""
    if (pages := getattr(image, "n_frames", 1)) != 1:
        raise ImageError("a file with one image", f"{pages} pages or frames", "split it and pass one page")
    if "transparency" in image.info:
        raise ImageError(_WANTED, "a transparent grey level", "save it without transparency")
    if not image.mode.startswith(("I", "F")):
        raise ImageError(_WANTED, f"pixels of type {image.mode}", _AS_NPY)
    values = np.asarray(image)
    exact: AnyArray = values.astype(dtype)
    if not np.array_equal(exact, values, equal_nan=dtype.kind == "f"):
        raise ImageError(f"values of {dtype}", f"others, as {values.dtype}", _AS_NPY)
    return exact
