"""The profile: the named, versioned contract for what happens before the encoder and after the decoder.

The same weights give other masks under another resize kernel or another order of sigmoid and interpolation,
so no model runs without its profile. It is plain data with a closed vocabulary, complete enough for a reader
in another language. Knows nothing about backends, files or where the weights came from.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .errors import ArtefactError, UsageError

# Every value that this toolkit can carry out. A new profile adds a value here and an arm in the step it
# changes.
VOCABULARY: dict[str, tuple[str | int, ...]] = {
    "name": ("medsam", "litemedsam", "litemedsam-slicer"),
    "version": (1,),
    "resize": ("stretch", "longest side, pad right and bottom with the minimum"),
    "kernel": ("cubic-spline-antialias", "area"),
    "channel_rule": ("rgb, grey repeated",),
    "rounding": ("clip to input range, truncate", "nearest"),
    "normalisation": ("min-max, in graph",),
    "box_rule": ("scale, float32", "scale by longest side, truncate"),
    "mask_rule": ("sigmoid, bilinear, above threshold", "crop, bilinear, sigmoid above threshold"),
}


@dataclass(frozen=True)
class Profile:
    """How an image becomes the encoder's input and logits become masks.

    Attributes:
        name: Whose preprocessing this is.
        version: Grows when the meaning of a value changes.
        image_size: S, the side of the encoder's input in pixels.
        resize: How the image meets the square: "stretch" scales each axis by its own factor; "longest side" keeps the
            aspect. Padding is the resized image's own minimum, which min-max turns into 0.
        kernel: The interpolation; exact forms are `resize_cubic_antialias` and `resize_area`.
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
                raise unknown(field, value)
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


def _malformed(expected: str, found: str) -> ArtefactError:
    return ArtefactError(expected, found, "export the bundle again with a medsam-edge toolkit of this version or newer")
