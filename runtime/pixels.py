"""What an array must be to be an image, before it is known where it came from: uint8, gray or RGB, not too large.

The half of `images` that needs no image library, so that a program which has its pixels already loads none.
"""

import numpy as np

from .arrays import ArrayHeader
from .errors import ImageError
from .types import AnyArray, Image

MAX_SIDE = 16384
MAX_PIXELS = 8192 * 8192  # 64 megapixels: 192 MiB as RGB

WINDOW = (
    "add --window abdomen, lung, brain, mediastinum, mr or CENTER,WIDTH to `segment` if it is gray; or "
    "window it to 8 bit first, as MedSAM's training images were "
    "(CT soft tissue: level 40, width 400, so clip to -160..240), scale to 0..255 and cast to uint8"
)
GRAY_OR_RGB = "a gray or RGB image"
EIGHT_BIT = "an 8-bit image (uint8)"


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
        raise ImageError(EIGHT_BIT, f"{found}", "multiply it by 255 and cast to uint8 if it is an image, not a mask")
    if dtype.kind not in "iuf":
        raise ImageError(EIGHT_BIT, f"values of type {found}", "pass an array of plain numbers, uint8")
    if dtype != np.uint8:
        raise ImageError(EIGHT_BIT, f"{found}", WINDOW)


def _check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is not one gray or RGB image with the channels last."""
    if len(shape) not in (2, 3):
        raise ImageError(f"{GRAY_OR_RGB}, (H, W) or (H, W, 3)", f"shape {shape}", "pass one image at a time")
    if len(shape) == 3 and shape[2] not in (1, 3):
        raise ImageError(f"{GRAY_OR_RGB}, (H, W) or (H, W, 3)", *_describe_channels(shape))
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
        raise ImageError(
            "an image with pixels", f"{height} x {width} (height x width)", "copy or export the image again"
        )
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        limit = f"an image of at most {MAX_PIXELS // 2**20} megapixels and {MAX_SIDE} pixels a side"
        remedy = "crop it or cut it into tiles, or scale it down"
        raise ImageError(limit, f"{height} x {width} pixels (height x width)", remedy)


def accept_pixels(header: ArrayHeader) -> None:
    """Judge a stored array by its header, for `arrays.read_npy`."""
    _check_type(header.dtype, f"{header.dtype}")
    _check_shape(header.shape)
