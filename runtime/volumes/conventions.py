"""What published programs mean by a box in three dimensions, and how they hand it from slice to slice.

| convention | z_max | margin around the previous mask | published by |
|---|---|---|---|
| `litemedsam` | inclusive | 3 pixels of 256 | CVPR24_LiteMedSAM_infer.py of bowang-lab/MedSAM, branch LiteMedSAM |
| `daft` | exclusive | 3 pixels of 256 | automl/CVPR24-MedSAM-on-Laptop |
| `medficientsam` | exclusive | none | cpp/src/main.cpp of hieplpvip/medficientsam |

All three go outward from slice `int((z_max - z_min) / 2 + z_min)`, and start again from the first box wherever the
previous mask is empty (`first-box`). This toolkit stops there unless asked otherwise (`stop`): what has ended does not
come back as a guess. Here the box is that of the mask at full size, where LiteMedSAM takes the mask at 256 pixels; the
two differ by a pixel of that size at most.
"""

from dataclasses import dataclass

import numpy as np

from ..boxes import boxes_from_masks
from ..errors import UsageError
from ..profile import Profile
from ..types import Boxes, Mask

MARGIN = 3 / 256  # of the longest side
STOP, FIRST_BOX = "stop", "first-box"
AFTER_EMPTY = (STOP, FIRST_BOX)


@dataclass(frozen=True)
class Convention:
    """One published meaning of 3D boxes.

    Attributes:
        name: Of `CONVENTIONS`.
        z_max_inclusive: Whether slice z_max still belongs to the object.
        margin: By how much the box of a mask grows for the next slice, as a part of the longest side.
    """

    name: str
    z_max_inclusive: bool
    margin: float

    def last_of(self, z_max: int) -> int:
        """The last slice of an object."""
        return z_max if self.z_max_inclusive else z_max - 1

    def middle_of(self, first: int, last: int) -> int:
        """The slice that an object starts from, of its first and last one."""
        z_max = last if self.z_max_inclusive else last + 1
        return int((z_max - first) / 2 + first)

    def next_box(self, mask: Mask) -> Boxes | None:
        """The box for the neighbouring slice, float32 `(4,)`; None where the mask is empty."""
        if not mask.any():
            return None
        height, width = mask.shape
        grow = self.margin * max(mask.shape)
        box = boxes_from_masks(mask[None])[0] + np.array([-grow, -grow, grow, grow], np.float32)
        clipped: Boxes = np.clip(box, 0, np.array([width, height, width, height], np.float32))
        return clipped


CONVENTIONS = {
    one.name: one
    for one in (
        Convention("litemedsam", True, MARGIN),
        Convention("daft", False, MARGIN),
        Convention("medficientsam", False, 0.0),
    )
}
# MedSAM published no loop over slices of its own; its authors point to LiteMedSAM's.
_OF_PROFILES = {
    "medsam": "litemedsam",
    "litemedsam": "litemedsam",
    "litemedsam-slicer": "litemedsam",
    "medsam-hf-wanglab": "litemedsam",
    "medsam-hf-flaviagiammarino": "litemedsam",
}


def convention_of(profile: Profile, name: str | None = None) -> Convention:
    """Return the convention of a name, or that of a profile.

    Raises:
        UsageError: No convention has this name.
    """
    chosen = CONVENTIONS.get(_OF_PROFILES[profile.name] if name is None else name)
    if chosen is None:
        raise UsageError(f"a convention among {', '.join(CONVENTIONS)}", repr(name), "choose one of these")
    return chosen


def check_after_empty(rule: str) -> None:
    """Refuse an unknown rule.

    Raises:
        UsageError: It is none of `AFTER_EMPTY`.
    """
    if rule not in AFTER_EMPTY:
        raise UsageError(f"{' or '.join(AFTER_EMPTY)} after an empty mask", repr(rule), "choose one of the two")
