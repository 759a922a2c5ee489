"""Reads label maps: the form in which people hand over reference masks, to take boxes from.

A label map is `(H, W)` of integers: 0 is background, every other value one object.
"""

from pathlib import Path

import numpy as np
import PIL.Image

from .arrays import ArrayArchive, ArrayHeader, read_npy
from .errors import ImageError, UsageError
from .files import open_file
from .images import check_size
from .types import AnyArray

NPZ_KEYS = ("gts", "segs")  # the challenge's reference and result files
_MODES = ("1", "L", "P", "I", "I;16")


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
                    return read_npy(stream, _accept)
                case ".npz":
                    return _from_archive(ArrayArchive(stream))
                case _:
                    return _from_picture(path)
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


def _from_picture(path: Path) -> AnyArray:
    try:
        with PIL.Image.open(path) as picture:
            check_size(picture.height, picture.width)
            if picture.mode not in _MODES:
                raise ImageError("a label map with one channel", f"mode {picture.mode}", "save it as 8 or 16-bit grey")
            labels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ImageError("an intact PNG or TIFF", f"{error}", "save the label map again") from error
    return labels.astype(np.int32)
