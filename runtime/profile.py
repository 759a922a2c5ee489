"""The profile: the named, versioned contract for what happens before the encoder and after the decoder.

The same weights give other masks under another resize kernel or another order of sigmoid and interpolation,
so no model runs without its profile. It is plain data with a closed vocabulary, complete enough for a reader
in another language. Knows nothing about backends, files or where the weights came from.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .errors import ArtefactError, UsageError

# Every value that this toolkit can carry out. A new profile adds a value here and an arm in the step it
# changes.
VOCABULARY: dict[str, tuple[str | int, ...]] = {
    "name": ("medsam", "litemedsam", "litemedsam-slicer", "medsam-hf-wanglab", "medsam-hf-flaviagiammarino"),
    "version": (1,),
    "resize": (
        "stretch",
        "longest side, pad right and bottom with the minimum",
        "longest side, pad right and bottom with zero",
    ),
    "kernel": ("cubic-spline-antialias", "area", "pillow-bilinear", "pillow-bicubic"),
    "channel_rule": ("rgb, grey repeated",),
    "rounding": ("clip to input range, truncate", "nearest"),
    "normalisation": ("min-max, in graph", "mean-std, in graph", "mean-std, then padding to zero, in graph"),
    "box_rule": ("scale, float32", "scale by longest side, truncate", "scale by resized sides, float32"),
    "mask_rule": (
        "sigmoid, bilinear, above threshold",
        "crop, bilinear, sigmoid above threshold",
        "sigmoid, bilinear to S x S, crop, bilinear, above threshold",
    ),
}
MIN_MAX, MEAN_STD, MEAN_STD_THEN_PADDING = map(str, VOCABULARY["normalisation"])
Channels = tuple[float, float, float]  # red, green, blue
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
_CHANNELS = ("mean", "std")


@dataclass(frozen=True)
class Profile:
    """How an image becomes the encoder's input and logits become masks.

    Attributes:
        name: Whose preprocessing this is.
        version: Grows when the meaning of a value changes.
        image_size: S, the side of the encoder's input in pixels.
        resize: How the image meets the square: "stretch" scales each axis by its own factor; "longest side" keeps the
            aspect. Padding is the resized image's own minimum, which min-max turns into 0, or zero.
        kernel: The interpolation; exact forms are `resize_cubic_antialias`, `resize_area` and Pillow's own resize.
        channel_rule: What the channels are.
        rounding: How resized values become uint8.
        normalisation: How and where grey levels are normalised.
        box_rule: How a box reaches the encoder's pixels.
        mask_rule: The steps from low-resolution logits to a mask, in their order.
        threshold: The probability above which a pixel belongs to the mask.
        mean: Subtracted from grey levels / 255, for each channel; None where the normalisation is min-max.
        std: What the difference is divided by, for each channel; None likewise.

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
    mean: Channels | None = None
    std: Channels | None = None

    def __post_init__(self) -> None:
        for field, known in VOCABULARY.items():
            value = getattr(self, field)
            if type(value) is not type(known[0]) or value not in known:
                raise unknown(field, value)
        if type(self.image_size) is not int or self.image_size < 1:
            raise _malformed("an image_size that is a positive integer", repr(self.image_size))
        if type(self.threshold) is not float or not 0 < self.threshold < 1:
            raise _malformed("a threshold that is a float between 0 and 1", repr(self.threshold))
        _check_channels(self)

    @property
    def takes_valid_hw(self) -> bool:
        """Whether the encoder has a second input `valid_hw`: how much of the square is image and not padding."""
        return self.normalisation == MEAN_STD_THEN_PADDING

    def to_dict(self) -> dict[str, object]:
        """The profile as it is written to a manifest: JSON types only, one key per field that it has."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Profile":
        """Read what `to_dict` wrote.

        Raises:
            ArtefactError: If a field is missing, unknown or of the wrong type, or a value is one that this
                toolkit does not know.
        """
        always = {field.name for field in fields(cls)} - set(_CHANNELS)
        found = set(data) if isinstance(data, Mapping) else set()
        if found not in (always, always | set(_CHANNELS)):
            keys = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
            raise _malformed(
                f"a profile with the fields {sorted(always)}, with mean and std or without both", str(keys)
            )
        values: dict[str, Any] = {key: tuple(value) if type(value) is list else value for key, value in data.items()}
        return cls(**values)


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


def litemedsam(image_size: int = 256) -> Profile:
    """The contract of CVPR24_LiteMedSAM_infer.py of bowang-lab/MedSAM, branch LiteMedSAM.

    Args:
        image_size: S; 256 for the published weights.

    Raises:
        UsageError: If the size is not a positive integer.
    """
    return replace(
        medsam(image_size),
        name="litemedsam",
        resize="longest side, pad right and bottom with the minimum",
        kernel="area",
        rounding="nearest",
        box_rule="scale by longest side, truncate",
        mask_rule="crop, bilinear, sigmoid above threshold",
    )


def litemedsam_slicer(image_size: int = 256) -> Profile:
    """The contract of MedSAMSlicer's engine classicmedsam.py: LiteMedSAM's weights fed as MedSAM's.

    The same weights draw other masks than under `litemedsam`. Slices reach the plug-in's resize as floats, here as
    uint8.

    Args:
        image_size: S; 256 for the published weights.

    Raises:
        UsageError: If the size is not a positive integer.
    """
    return replace(medsam(image_size), name="litemedsam-slicer")


def medsam_hf_wanglab(image_size: int = 1024) -> Profile:
    """What Transformers' SamProcessor does under the preprocessor_config.json of `wanglab/medsam-vit-base`.

    Pads after mean and std, so padding is 0 and not black: the encoder takes `valid_hw`.

    Args:
        image_size: S; 1024 for the published weights.

    Raises:
        UsageError: If the size is not a positive integer.
    """
    return replace(
        medsam(image_size),
        name="medsam-hf-wanglab",
        resize="longest side, pad right and bottom with zero",
        kernel="pillow-bilinear",
        rounding="nearest",
        normalisation=MEAN_STD_THEN_PADDING,
        box_rule="scale by resized sides, float32",
        mask_rule="sigmoid, bilinear to S x S, crop, bilinear, above threshold",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def medsam_hf_flaviagiammarino(image_size: int = 1024) -> Profile:
    """What Transformers' SamProcessor does under that file of `flaviagiammarino/medsam-vit-base`.

    Args:
        image_size: S; 1024 for the published weights.

    Raises:
        UsageError: If the size is not a positive integer.
    """
    return replace(
        medsam_hf_wanglab(image_size),
        name="medsam-hf-flaviagiammarino",
        kernel="pillow-bicubic",
        normalisation=MEAN_STD,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def profile_named(name: str, image_size: int) -> Profile:
    """The current version of a profile.

    Raises:
        UsageError: If no profile has this name.
    """
    match name:
        case "medsam":
            return medsam(image_size)
        case "litemedsam":
            return litemedsam(image_size)
        case "litemedsam-slicer":
            return litemedsam_slicer(image_size)
        case "medsam-hf-wanglab":
            return medsam_hf_wanglab(image_size)
        case "medsam-hf-flaviagiammarino":
            return medsam_hf_flaviagiammarino(image_size)
    known = ", ".join(map(str, VOCABULARY["name"]))
    raise UsageError(f"a profile name among: {known}", repr(name), "choose one of these names")


def unknown(field: str, value: object) -> ArtefactError:
    """Return the error for a value that this toolkit cannot carry out."""
    known = " or ".join(repr(word) for word in VOCABULARY[field])
    return ArtefactError(
        f"a profile whose {field} is {known}",
        repr(value),
        f"install a medsam-edge toolkit that knows the profile {field} {value!r}; it is newer than this one",
    )


def _check_channels(profile: Profile) -> None:
    """Mean and std stand there where the normalisation needs them, and only there."""
    for name in _CHANNELS:
        value = getattr(profile, name)
        if profile.normalisation == MIN_MAX:
            if value is not None:
                raise _malformed(f"no {name} beside {MIN_MAX!r}", repr(value))
        elif not _are_channels(value) or (name == "std" and min(value) <= 0):
            raise _malformed(f"a {name} of three finite floats, those of std above 0", repr(value))


def _are_channels(value: object) -> bool:
    return (
        isinstance(value, tuple) and len(value) == 3 and all(type(one) is float and math.isfinite(one) for one in value)
    )


def _malformed(expected: str, found: str) -> ArtefactError:
    return ArtefactError(expected, found, "export the bundle again with a medsam-edge toolkit of this version or newer")
