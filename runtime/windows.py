"""Windows: which grey levels of a scanner become the 0 to 255 that every profile expects.

The formulas are those that MedSAM's training images were made with (pre_CT_MR.py of bowang-lab/MedSAM):

- CT: clip to centre ± width / 2, then `(x - min) / (max - min) * 255`, cut to uint8;
- `mr`: clip to the 0.5 and 99.5 percentiles of the voxels above 0, and the same scaling. That script then sets
  voxels of 0 to 0; they are 0 already, for they lie below the lower percentile.

Min and max are those of the clipped image, as there; that script takes them, and the percentiles, over a volume, this
over the one image that it has. Knows nothing of files, profiles or models.
"""

import math
from dataclasses import dataclass

import numpy as np

from .errors import ImageError, UsageError
from .types import AnyArray, Image

# Name to centre and width in Hounsfield units. `abdomen` is pre_CT_MR.py's default too; all four are the presets of
# MedSAMSlicer.
CT_WINDOWS = {
    "abdomen": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "brain": (40.0, 80.0),
    "mediastinum": (50.0, 350.0),
}
MR = "mr"
MR_PERCENTILES = (0.5, 99.5)
_ROWS = 512  # scaled in double at a time, so that a large image needs little beyond itself


@dataclass(frozen=True)
class Window:
    """A window as a person asked for it.

    Attributes:
        name: A preset's name, or "CENTER,WIDTH".
        bounds: Lowest and highest grey level, or None for `mr`, whose bounds are the image's own percentiles.
    """

    name: str
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class AppliedWindow:
    """What a window did to one image, so that its grey levels can be traced.

    Attributes:
        name: As the person gave it.
        low, high: Grey levels were clipped to these.
        black, white: These grey levels became 0 and 255.
        dtype: Of the image before.
    """

    name: str
    low: float
    high: float
    black: float
    white: float
    dtype: str


def parse_window(text: str) -> Window:
    """Read a preset's name or `CENTER,WIDTH`.

    Raises:
        UsageError: If it is neither, or the width is not above 0.
    """
    if text == MR:
        return Window(MR, None)
    centre, width = CT_WINDOWS.get(text) or _two_numbers(text)
    return Window(text, (centre - width / 2, centre + width / 2))


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        centre, width = (float(word) for word in text.split(","))
    except ValueError:
        centre = width = math.nan
    if not math.isfinite(centre) or not math.isfinite(width) or width <= 0:
        raise UsageError(
            f"a window among {', '.join((*CT_WINDOWS, MR))}, or CENTER,WIDTH with a width above 0",
            repr(text),
            "name one of these after --window, such as abdomen or 40,400",
        )
    return centre, width


def apply_window(window: Window, values: AnyArray) -> tuple[Image, AppliedWindow]:
    """Turn raw grey levels into an image.

    Args:
        window: Which grey levels to spread.
        values: `(H, W)`, integers or floats as the scanner gave them; for CT in Hounsfield units.

    Returns:
        uint8 `(H, W, 3)` with equal channels, and what was done.

    Raises:
        ImageError: NaN or infinite values, no value above 0 under `mr`, or one grey level only within the window.
    """
    if broken := values.size - int(np.isfinite(values).sum()):
        remedy = "replace them by the value of the background, such as -1024 for CT"
        raise ImageError("finite grey levels", f"{broken:,} that are NaN or infinite", remedy)
    low, high = window.bounds or _percentiles(values)
    black, white = (min(max(float(end), low), high) for end in (values.min(), values.max()))
    if black == white:
        found = f"only {black:g} once clipped to {low:g} … {high:g}, from {values.min():g} … {values.max():g}"
        raise ImageError("more than one grey level within the window", found, "choose a window that the image reaches")
    gray = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        rows = slice(start, start + _ROWS)
        clipped = np.clip(values[rows].astype(np.float64), low, high)
        gray[rows] = (clipped - black) / (white - black) * 255.0
    applied = AppliedWindow(window.name, low, high, black, white, str(values.dtype))
    return np.repeat(gray[:, :, None], 3, axis=2), applied


def _percentiles(values: AnyArray) -> tuple[float, float]:
    positive = values[values > 0].astype(np.float64)
    if not positive.size:
        found = f"none; the values are {values.min():g} … {values.max():g}"
        raise ImageError(f"a voxel above 0, which the window `{MR}` starts from", found, "give --window CENTER,WIDTH")
    low, high = np.percentile(positive, MR_PERCENTILES)
    return float(low), float(high)
