"""Symmetric int8 numbers: the scale that a type can hold, and weights rounded to it. Knows nothing of graphs."""

import numpy as np
import numpy.typing as npt

from ..runtime.errors import UsageError
from ..runtime.types import AnyArray

LARGEST = 127  # -128 stays unused in weights: their range is symmetric


def scale_as(dtype: npt.DTypeLike, scale: float, layer: str) -> AnyArray:
    """Return an activation's scale as a scalar of the graph's type.

    Raises:
        UsageError: If it is not positive and finite in that type; `layer` names the culprit.
    """
    with np.errstate(over="ignore", under="ignore"):
        found = np.asarray(scale, dtype)
    if not (np.isfinite(found) and found > 0):
        expected = f"a scale that is positive and finite in {found.dtype} for {layer}"
        raise UsageError(expected, repr(float(scale)), "calibrate on images that reach the layer, or leave it float")
    return found


def int8_weight(weight: AnyArray, axis: int) -> tuple[npt.NDArray[np.int8], AnyArray]:
    """Round a weight to symmetric int8 with a scale for each channel along `axis`.

    The scale is what the weight's type can hold, rounded up where it cannot be met, so that the largest weight of a
    channel is never cut off: float16 has few digits for the scale of small weights. A channel of zeros has scale 1.

    Returns:
        int8 values of the weight's shape, and scales `(channels,)` of the weight's type.
    """
    exact = weight.astype(np.float64)
    others = tuple(other for other in range(weight.ndim) if other != axis)
    peaks = np.abs(exact).max(axis=others)
    scale = (np.where(peaks > 0, peaks, LARGEST) / LARGEST).astype(weight.dtype)
    short = scale.astype(np.float64) * LARGEST < peaks
    scale = np.where(short, np.nextafter(scale, np.array(np.inf, scale.dtype)), scale)
    return np.rint(exact / np.expand_dims(scale.astype(np.float64), others)).astype(np.int8), scale
