"""How many channels a TIFF really has, read from its header before Pillow opens it.

Pillow opens some files of two, four or five channels as gray or RGB and drops the rest without a word, and calls others
damaged. It knows nothing of what the pixels mean.
"""

from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .errors import ImageError

_SAMPLES_PER_PIXEL = 277


def check_samples(stream: BinaryIO) -> None:
    """Refuse a TIFF whose first image has other than one or three channels; leave the stream at its beginning.

    Raises:
        ImageError: Naming the number of channels.
    """
    samples = _samples(stream)
    stream.seek(0)
    if samples not in (1, 3):
        raise ImageError(
            "a gray or RGB image",
            f"{samples} channels",
            "drop the alpha or extra channels after deciding what they mean, or convert CMYK to RGB",
        )


def _samples(stream: BinaryIO) -> object:
    head = stream.read(8)
    if head[2:3] == b"\x2b":  # BigTIFF has a longer header; Pillow reads its little-endian form only
        head += stream.read(8)
    directory = ImageFileDirectory_v2(head)
    stream.seek(directory.next)
    directory.load(stream)
    return directory.get(_SAMPLES_PER_PIXEL, 1)
