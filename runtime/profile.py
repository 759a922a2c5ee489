"""The profile: the named, versioned contract for what happens before the encoder and after the decoder.

The same weights give other masks under another resize kernel or another order of sigmoid and interpolation,
so no model runs without its profile. It is plain data with a closed vocabulary, complete enough for a reader
in another language. Knows nothing about backends, files or where the weights came from.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ArtefactError, BoxError, ParityError, UsageError
from .resize import bilinear_above, resize_cubic_antialias
from .types import Boxes, Image, Logits, Masks

# Every value that this toolkit can carry out. A new profile adds a value here and an arm in the step it
# changes.
VOCABULARY: dict[str, tuple[str | int, ...]] = {
    "name": ("medsam",),
    "version": (1,),
    "resize": ("stretch",),
    "kernel": ("cubic-spline-antialias",),
    "channel_rule": ("rgb, grey repeated",),
    "rounding": ("clip to input range, truncate",),
    "normalisation": ("min-max, in graph",),
    "box_rule": ("scale, float32",),
    "mask_rule": ("sigmoid, bilinear, above threshold",),
}
MASKS_AT_ONCE = 16  # of probabilities held in memory; the masks themselves are the caller's to hold


@dataclass(frozen=True)
class Profile:
    """How an image becomes the encoder's input and logits become masks.

    Attributes:
        name: Whose preprocessing this is.
        version: Grows when the meaning of a value changes.
        image_size: S, the side of the encoder's input in pixels.
        resize: How the image meets the square: "stretch" scales each axis by its own factor.
        kernel: The interpolation; its exact form is `resize_cubic_antialias`.
        channel_rule: What the channels are.
        rounding: How resized values become uint8.
        normalisation: How and where grey levels are normalised.
        box_rule: How a box reaches the encoder's pixels.
        mask_rule: The steps from low-resolution logits to a mask, in their order.
        threshold: The probability above which a pixel belongs to the mask.

    Raises:
        ArtefactError: If a value has the wrong type or is none that this toolkit knows.
    """

    name: str
    version: int
    image_size: int
    resize: str
    kernel: str
    channel_rule: str
    rounding: str
    normalisation: str
    box_rule: str
    mask_rule: str
    threshold: float

    def __post_init__(self) -> None:
        for field, known in VOCABULARY.items():
            value = getattr(self, field)
            if type(value) is not type(known[0]) or value not in known:
                raise _unknown(field, value)
        if type(self.image_size) is not int or self.image_size < 1:
            raise _malformed("an image_size that is a positive integer", repr(self.image_size))
        if type(self.threshold) is not float or not 0 < self.threshold < 1:
            raise _malformed("a threshold that is a float between 0 and 1", repr(self.threshold))

    def to_dict(self) -> dict[str, str | int | float]:
        """The profile as it is written to a manifest: JSON types only, one key per field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Profile":
        """Read what `to_dict` wrote.

        Raises:
            ArtefactError: If a field is missing, unknown or of the wrong type, or a value is one that this
                toolkit does not know.
        """
        expected = {field.name for field in fields(cls)}
        if not isinstance(data, Mapping) or set(data) != expected:
            keys = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
            raise _malformed(f"a profile with the fields {sorted(expected)}", str(keys))
        return cls(**data)


def medsam(image_size: int = 1024) -> Profile:
    """The contract of MedSAM_Inference.py of bowang-lab/MedSAM.

    Args:
        image_size: S; 1024 for the published ViT-B.

    Raises:
        UsageError: If the size is not a positive integer.
    """
    if type(image_size) is not int or image_size < 1:
        raise UsageError("a positive integer image size", repr(image_size), "give the side of the encoder's input")
    return Profile(
        name="medsam",
        version=1,
        image_size=image_size,
        resize="stretch",
        kernel="cubic-spline-antialias",
        channel_rule="rgb, grey repeated",
        rounding="clip to input range, truncate",
        normalisation="min-max, in graph",
        box_rule="scale, float32",
        mask_rule="sigmoid, bilinear, above threshold",
        threshold=0.5,
    )


def profile_named(name: str, image_size: int) -> Profile:
    """The current version of a profile.

    Raises:
        UsageError: If no profile has this name.
    """
    match name:
        case "medsam":
            return medsam(image_size)
    known = ", ".join(map(str, VOCABULARY["name"]))
    raise UsageError(f"a profile name among: {known}", repr(name), "choose one of these names")


def preprocess(profile: Profile, image: Image) -> npt.NDArray[np.uint8]:
    """Make the encoder's input.

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
    raise _unknown("resize", profile.resize)


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
    raise _unknown("box_rule", profile.box_rule)


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
            return _masks_of_probabilities(low_res_logits[:, 0], image_hw, profile.threshold)
    raise _unknown("mask_rule", profile.mask_rule)


def _masks_of_probabilities(logits: npt.NDArray[np.float32], image_hw: tuple[int, int], threshold: float) -> Masks:
    masks = np.empty((len(logits), *image_hw), np.bool_)
    for start in range(0, len(logits), MASKS_AT_ONCE):
        chunk = slice(start, start + MASKS_AT_ONCE)
        masks[chunk] = bilinear_above(_sigmoid(logits[chunk]), *image_hw, threshold)
    return masks


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """1 / (1 + exp(-x)) through tanh, which no finite logit overflows."""
    half = np.float32(0.5)
    result: npt.NDArray[np.float32] = half + half * np.tanh(half * logits.astype(np.float32))
    return result


def _unknown(field: str, value: object) -> ArtefactError:
    known = " or ".join(repr(word) for word in VOCABULARY[field])
    return ArtefactError(
        f"a profile whose {field} is {known}",
        repr(value),
        f"install a medsam-edge toolkit that knows the profile {field} {value!r}; it is newer than this one",
    )


def _malformed(expected: str, found: str) -> ArtefactError:
    return ArtefactError(expected, found, "export the bundle again with a medsam-edge toolkit of this version or newer")
