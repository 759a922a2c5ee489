"""What only a TIFF can be: of odd channel counts, turned at load, or made of tiles larger than its image.

Pillow opens some files of two, four or five channels as gray or RGB and drops the rest without a word, and turns a file
that asks for it. This module knows nothing of what the pixels mean.
"""

from typing import BinaryIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from .errors import ImageError

_ORIENTATION, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_HEIGHT = 274, 277, 322, 323


def check_samples(stream: BinaryIO) -> None:
    """Refuse a TIFF whose first image has other than one or three channels; leave the stream at its beginning.

    Raises:
        ImageError: Naming the number of channels.
    """
    samples = first_directory(stream).get(_SAMPLES_PER_PIXEL, 1)
    if samples not in (1, 3):
        raise ImageError(
            "a gray or RGB image",
            f"{samples} channels",
            "drop the alpha or extra channels after deciding what they mean, or convert CMYK to RGB",
        )


def first_directory(stream: BinaryIO) -> ImageFileDirectory_v2:
    """Read the tags of the first image, whatever Pillow thinks of its pixels; leave the stream at its beginning."""
    head = stream.read(8)
    if head[2:3] == b"\x2b":  # BigTIFF has a longer header; Pillow reads its little-endian form only
        head += stream.read(8)
    directory = ImageFileDirectory_v2(head)
    stream.seek(directory.next)
    directory.load(stream)
    stream.seek(0)
    return directory


def check_upright(image: TiffImageFile) -> None:
    """Refuse a TIFF that asks to be turned: a mask must lie on the stored pixels.

    Raises:
        ImageError: Naming the orientation.
    """
    if (orientation := image.getexif().get(_ORIENTATION, 1)) != 1:
        remedy = "save it upright, so that stored and shown pixels agree"
        raise ImageError("a TIFF with orientation 1", f"orientation {orientation}", remedy)


def tile_size(image: TiffImageFile) -> tuple[int, int]:
    """Return height and width of a tile; decoding one takes that much memory, whatever the image's size. 1 if none."""
    tags = image.tag_v2
    return tags.get(_TILE_HEIGHT, 1), tags.get(_TILE_WIDTH, 1)
