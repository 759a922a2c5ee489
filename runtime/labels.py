"""Reads label maps: the form in which people hand over reference masks, to take boxes from.

A label map is `(H, W)` of integers: 0 is background, every other value one object.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .arrays import ArrayArchive, ArrayHeader, read_npy
from .errors import ImageError, UsageError
from .files import open_file
from .images import DAMAGE
from .pixels import check_size
from .tiff import check_samples, check_upright, tile_size
from .types import AnyArray

NPZ_KEYS = ("gts", "segs")  # the challenge's reference and result files
_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def read_labels(path: Path) -> AnyArray:
    """Read a label map from PNG or TIFF (8 or 16 bits, one channel), .npy, or .npz (`gts` or `segs`).

    Returns:
        An integer `(H, W)` array.

    Raises:
        ImageError: If it is no such map.
        StorageError: If the file cannot be read.
    """
    with open_file(path) as stream:
        try:
            match path.suffix.lower():
                case ".npy":
                    return _integers(read_npy(stream, _accept))
                case ".npz":
                    return _integers(_from_archive(ArrayArchive(stream)))
                case _:
                    return _from_picture(stream)
        except UsageError as error:
            raise ImageError(error.expected, f"{error.found} in {path}", error.remedy) from error


def _accept(header: ArrayHeader) -> None:
    if header.dtype.kind not in "iub" or len(header.shape) != 2:
        raise ImageError(
            "a label map: integers (H, W)",
            f"{header.dtype} of shape {header.shape}",
            "save one integer per pixel, 0 for the background",
        )
    check_size(*header.shape)


def _from_archive(archive: ArrayArchive) -> AnyArray:
    key = next((key for key in NPZ_KEYS if key in archive.names), NPZ_KEYS[0])
    return archive.read(key, _accept)


def _integers(labels: AnyArray) -> AnyArray:
    return labels.astype(np.uint8) if labels.dtype.kind == "b" else labels  # one object, saved as a mask


def _from_picture(stream: BinaryIO) -> AnyArray:
    """Open PNG and TIFF only: another of Pillow's decoders would blur labels, as JPEG does, or run a program."""
    png = stream.read(4) == b"\x89PNG"
    stream.seek(0)
    try:
        if not png:
            check_samples(stream)
        with PngImageFile(stream) if png else TiffImageFile(stream) as picture:
            _check_picture(picture)
            labels = np.asarray(picture)
    except DAMAGE as error:
        raise ImageError("an intact PNG or TIFF", f"{error}", "save the label map again") from error
    return labels.astype(np.int32)


def _check_picture(picture: PngImageFile | TiffImageFile) -> None:
    check_size(picture.height, picture.width)
    if isinstance(picture, TiffImageFile):
        check_size(*tile_size(picture))
        check_upright(picture)
    if picture.mode not in _MODES:
        raise ImageError("a label map with one channel", f"mode {picture.mode}", "save it as 8 or 16-bit grey")
    if (pages := getattr(picture, "n_frames", 1)) != 1:
        raise ImageError("a label map of one image", f"{pages} pages", "split it and pass the page of this image")
