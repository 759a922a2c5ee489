"""What a profile says, done: image to encoder input, boxes to encoder pixels, logits to masks.

One `match` for each step, over the profile's closed vocabulary. It knows nothing of backends, files or weights.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .errors import BoxError, ImageError, ParityError, UsageError
from .profile import Profile, unknown
from .resize import Via, bilinear_above, resize_cubic_antialias
from .resize_area import resize_area
from .types import AnyArray, Boxes, Image, Logits, Masks

MASKS_AT_ONCE = 16  # of probabilities held in memory; the masks themselves are the caller's to hold
_Maps = npt.NDArray[np.float32]


def encoder_inputs(profile: Profile, image: Image) -> dict[str, AnyArray]:
    """Make the encoder's inputs, in their order.

    Args:
        profile: The model's contract.
        image: As `preprocess` takes it.

    Returns:
        `image` as `preprocess` makes it; and, for a profile that zeroes its padding in the graph, `valid_hw` int32
        `(2,)`, height and width of the image within the square.

    Raises:
        ImageError: As `preprocess`.
    """
    inputs: dict[str, AnyArray] = {"image": preprocess(profile, image)}
    if profile.takes_valid_hw:
        inputs["valid_hw"] = np.array(scaled_size((image.shape[0], image.shape[1]), profile.image_size), np.int32)
    return inputs


def preprocess(profile: Profile, image: Image) -> npt.NDArray[np.uint8]:
    """Make the encoder's `image`.

    Args:
        profile: The model's contract.
        image: uint8 `(H, W, 3)`, RGB; grey images repeat their channel.

    Returns:
        uint8 `(1, 3, S, S)`, contiguous, not normalised.

    Raises:
        ImageError: If the image is not a non-empty uint8 `(H, W, 3)`.
    """
    match profile.resize, profile.kernel, profile.channel_rule, profile.rounding:
        case "stretch", "cubic-spline-antialias", "rgb, grey repeated", "clip to input range, truncate":
            resized = resize_cubic_antialias(image, profile.image_size)
            return np.ascontiguousarray(resized.transpose(2, 0, 1)[None])
        case "longest side, pad right and bottom with the minimum", "area", "rgb, grey repeated", "nearest":
            small = _longest_side(image, profile.image_size, resize_area)
            return _padded(small, profile.image_size, small.min())
        case "longest side, pad right and bottom with zero", kernel, "rgb, grey repeated", "nearest":
            return _padded(_longest_side(image, profile.image_size, _pillow_resize(kernel)), profile.image_size, 0)
    raise unknown("resize", profile.resize)


def boxes_to_encoder(profile: Profile, boxes: Boxes, image_hw: tuple[int, int]) -> Boxes:
    """Carry boxes from the image's pixels to the encoder's.

    Args:
        profile: The model's contract.
        boxes: `(N, 4)`, x_min, y_min, x_max, y_max in pixels of the image.
        image_hw: Height and width of the image.

    Returns:
        float32 `(N, 4)`, contiguous. The decoder graph adds SAM's half pixel itself.

    Raises:
        BoxError: If the boxes are not `(N, 4)`.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError("boxes (N, 4)", f"shape {boxes.shape}", "give x_min, y_min, x_max, y_max for each box")
    match profile.box_rule:
        case "scale, float32":
            height, width = image_hw
            # Divided first and in double, as MedSAM_Inference.py does: box / [W, H, W, H] * 1024.
            relative = boxes / np.array([width, height, width, height], np.float64)
            return (relative * profile.image_size).astype(np.float32)
        case "scale by longest side, truncate":
            # In double, as the source: in float32, 97 * (64 / 97) is below 64 and would lose a pixel.
            double = boxes.astype(np.float64) * (profile.image_size / max(image_hw))
            truncated: Boxes = np.trunc(double).astype(np.float32)
            return truncated
        case "scale by resized sides, float32":
            # Each side by its own rounded factor and in double, as SamProcessor does.
            down, across = (
                new / old for new, old in zip(scaled_size(image_hw, profile.image_size), image_hw, strict=True)
            )
            return (boxes * np.array([across, down, across, down], np.float64)).astype(np.float32)
    raise unknown("box_rule", profile.box_rule)


def masks_from_logits(profile: Profile, low_res_logits: Logits, image_hw: tuple[int, int]) -> Masks:
    """Draw the decoder's logits as masks of the image.

    MedSAM interpolates probabilities, not logits: sigmoid first. The two orders differ along every boundary.

    Args:
        profile: The model's contract.
        low_res_logits: float32 `(N, 1, h, w)`.
        image_hw: Height and width of the image.

    Returns:
        bool `(N, H, W)`.

    Raises:
        UsageError: If the logits are not `(N, 1, h, w)`.
        ParityError: If a logit is NaN or infinite.
    """
    if low_res_logits.ndim != 4 or low_res_logits.shape[1] != 1:
        shape = str(low_res_logits.shape)
        raise UsageError("logits (N, 1, h, w)", f"shape {shape}", "give the decoder's low_res_logits as they are")
    if not np.isfinite(low_res_logits).all():
        raise ParityError(
            "finite logits from the decoder",
            f"{np.count_nonzero(~np.isfinite(low_res_logits))} that are NaN or infinite",
            "run a graph of higher precision, or verify the bundle on this backend",
        )
    match profile.mask_rule:
        case "sigmoid, bilinear, above threshold":
            return _drawn(_sigmoid, low_res_logits[:, 0], image_hw, profile.threshold)
        case "crop, bilinear, sigmoid above threshold":
            height, width = scaled_size(image_hw, low_res_logits.shape[-1])
            cropped = np.ascontiguousarray(low_res_logits[:, 0, :height, :width])
            # The sigmoid only grows, so it may as well be undone on the threshold.
            return _drawn(_same, cropped, image_hw, math.log(profile.threshold / (1 - profile.threshold)))
        case "sigmoid, bilinear to S x S, crop, bilinear, above threshold":
            via = Via(profile.image_size, scaled_size(image_hw, profile.image_size))
            return _drawn(_sigmoid, low_res_logits[:, 0], image_hw, profile.threshold, via)
    raise unknown("mask_rule", profile.mask_rule)


def scaled_size(image_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Return height and width once the longest side is `side`, rounded half up as LiteMedSAM and SamProcessor do."""
    scale = side / max(image_hw)
    return int(image_hw[0] * scale + 0.5), int(image_hw[1] * scale + 0.5)


def _longest_side(image: Image, side: int, resize: Callable[[Image, int, int], Image]) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {image.shape}"
        raise ImageError("a non-empty uint8 image (H, W, 3)", found, "convert the image to 8-bit RGB")
    height, width = scaled_size((image.shape[0], image.shape[1]), side)
    if not height or not width:
        found = f"{image.shape[0]} x {image.shape[1]}"
        raise ImageError(f"an image of which a pixel is left at {side} pixels", found, "crop it to the object")
    return resize(image, height, width)


def _pillow_resize(kernel: str) -> Callable[[Image, int, int], Image]:
    """Pillow's own resize of uint8: the library that SamImageProcessor calls, so equal by construction."""
    import PIL.Image  # two profiles need it; a start without them does not wait for it

    filters = {"pillow-bilinear": PIL.Image.Resampling.BILINEAR, "pillow-bicubic": PIL.Image.Resampling.BICUBIC}
    if kernel not in filters:
        raise unknown("kernel", kernel)

    def resize(image: Image, height: int, width: int) -> Image:
        return np.asarray(PIL.Image.fromarray(np.ascontiguousarray(image)).resize((width, height), filters[kernel]))

    return resize


def _padded(small: Image, side: int, value: int) -> npt.NDArray[np.uint8]:
    canvas = np.full((1, 3, side, side), value, np.uint8)
    canvas[0, :, : small.shape[0], : small.shape[1]] = small.transpose(2, 0, 1)
    return canvas


def _drawn(
    step: Callable[[_Maps], _Maps],
    logits: _Maps,
    image_hw: tuple[int, int],
    threshold: float,
    via: Via | None = None,
) -> Masks:
    masks = np.empty((len(logits), *image_hw), np.bool_)
    for start in range(0, len(logits), MASKS_AT_ONCE):
        chunk = slice(start, start + MASKS_AT_ONCE)
        masks[chunk] = bilinear_above(step(logits[chunk]), *image_hw, threshold, via)
    return masks


def _same(logits: _Maps) -> _Maps:
    return logits


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """1 / (1 + exp(-x)) through tanh, which no finite logit overflows."""
    half = np.float32(0.5)
    result: npt.NDArray[np.float32] = half + half * np.tanh(half * logits.astype(np.float32))
    return result
