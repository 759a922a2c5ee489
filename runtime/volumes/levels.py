"""Grey levels of a volume to the 8 bits that profiles take, one slice at a time, without a copy of the volume.

The formulas are those of `windows`; here, as in pre_CT_MR.py of bowang-lab/MedSAM, the ends of the window, min and max
are the whole volume's, unless each slice is asked to have its own. 8-bit volumes are taken as they are.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ImageError, UsageError, VolumeError
from ..types import AnyArray
from ..windows import CT_WINDOWS, MR, MR_PERCENTILES, AppliedWindow, Window, apply_window, parse_window
from .planes import Slicing
from .volume import Volume

VOLUME, SLICE = "volume", "slice"
SCOPES = (VOLUME, SLICE)
# Of pre_CT_MR.py: soft tissue for CT, percentiles for everything else.
_DEFAULTS = {"CT": "abdomen", "MR": MR, "PET": MR}


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a volume as images.

    Attributes:
        view: `(slices, rows, columns)`, the stored voxels.
        rescale: Slope and intercept.
        window: The window for each slice by itself, or None.
        applied: What the one window of the volume does, or None. Both are None for 8 bits.
    """

    view: AnyArray
    rescale: tuple[float, float] = (1.0, 0.0)
    window: Window | None = None
    applied: AppliedWindow | None = None

    def __len__(self) -> int:
        return int(self.view.shape[0])

    @property
    def image_hw(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        return int(self.view.shape[1]), int(self.view.shape[2])

    def image(self, index: int) -> AnyArray:
        """Return one slice, uint8 `(rows, columns)`.

        A slice of one grey level becomes black where each slice has its own window.

        Raises:
            VolumeError: NaN or infinite voxels under a window of its own.
        """
        if self.window is not None:
            return self._by_itself(index, self.window)
        if self.applied is None:
            return np.ascontiguousarray(self.view[index])
        one = self.applied
        clipped = np.clip(_values(self.view[index], self.rescale), one.low, one.high)
        return ((clipped - one.black) / (one.white - one.black) * 255.0).astype(np.uint8)

    def _by_itself(self, index: int, window: Window) -> AnyArray:
        values = _values(self.view[index], self.rescale)
        _check_finite(values, index)
        try:
            image: AnyArray = apply_window(window, values)[0][:, :, 0]
        except ImageError:  # nothing in it to see, as in the slices above a head
            return np.zeros(values.shape, np.uint8)
        return image


def choose_window(volume: Volume, window: Window | None) -> Window | None:
    """Return the window that a volume is seen through: the one asked for, or its modality's; None for 8 bits.

    Raises:
        UsageError: A window for a volume of 8 bits.
        VolumeError: More than 8 bits, no window, and a modality that has none by itself.
    """
    eight = volume.voxels.dtype == np.uint8 and volume.rescale == (1.0, 0.0)
    if eight and window is not None:
        raise UsageError("a volume of more than 8 bits for a window", "uint8 voxels", "leave out --window")
    if eight or window is not None:
        return window
    name = _DEFAULTS.get(volume.modality)
    if name is None:
        raise VolumeError(
            "a window, or a modality (CT, MR, PET) that has one",
            f"{volume.voxels.dtype} voxels of modality {volume.modality}",
            f"add --window {', '.join((*CT_WINDOWS, MR))} or CENTER,WIDTH, or --modality",
        )
    return parse_window(name)


def slices_of(volume: Volume, slicing: Slicing, window: Window | None = None, scope: str = VOLUME) -> Slices:
    """Prepare the slices of a volume.

    Args:
        volume: Any type of voxels.
        slicing: Which slices.
        window: As `choose_window` returns it.
        scope: Whether `volume` or each `slice` gives the ends of the grey scale.

    Raises:
        UsageError: An unknown scope.
        VolumeError: NaN or infinite voxels, one grey level only, or no voxel above 0 under `mr`.
    """
    if scope not in SCOPES:
        raise UsageError(f"grey levels by {' or '.join(SCOPES)}", repr(scope), "choose one of the two")
    view = slicing.view(volume.voxels)
    if window is None:
        return Slices(view)
    low, high = _range(volume)
    if scope == SLICE:
        return Slices(view, volume.rescale, window)
    bounds = window.bounds or _percentiles(volume)
    black, white = (min(max(end, bounds[0]), bounds[1]) for end in (low, high))
    if black == white:
        found = f"only {black:g} once clipped to {bounds[0]:g} … {bounds[1]:g}, from {low:g} … {high:g}"
        raise VolumeError("more than one grey level within the window", found, "choose another --window")
    applied = AppliedWindow(window.name, *bounds, black, white, str(volume.voxels.dtype))
    return replace(Slices(view, volume.rescale), applied=applied)


def _values(plane: AnyArray, rescale: tuple[float, float]) -> AnyArray:
    slope, intercept = rescale
    return plane.astype(np.float64) * slope + intercept


def _range(volume: Volume) -> tuple[float, float]:
    """Lowest and highest grey level; refuses what is no number."""
    low, high = math.inf, -math.inf
    for index, plane in enumerate(volume.voxels):
        _check_finite(plane, index)
        with np.errstate(over="ignore"):
            ends = _values(np.array([plane.min(), plane.max()]), volume.rescale)
        low, high = min(low, float(ends.min())), max(high, float(ends.max()))
    if not math.isfinite(high - low):
        found = f"{low:g} … {high:g} with slope and intercept"
        raise VolumeError("grey levels that a double can hold", found, "export the volume again")
    return low, high


def _check_finite(plane: AnyArray, index: int) -> None:
    if plane.dtype.kind == "f" and (broken := plane.size - int(np.isfinite(plane).sum())):
        found = f"{broken:,} NaN or infinite ones in slice {index}"
        raise VolumeError("finite voxels", found, "replace them, if you know by what")


def _percentiles(volume: Volume) -> tuple[float, float]:
    """numpy.percentile of the voxels above 0, from a partial sort in their own type: no larger one is made of them."""
    slope, intercept = volume.rescale
    parts = [plane[_values(plane, volume.rescale) > 0] for plane in volume.voxels]
    above = np.concatenate(parts)
    if not above.size:
        found = "none at all"
        raise VolumeError(f"a voxel above 0, which the window `{MR}` starts from", found, "give --window CENTER,WIDTH")
    places = [share / 100 * (above.size - 1) for share in MR_PERCENTILES]
    ranks = [[math.floor(place), math.ceil(place)] for place in places]
    if slope < 0:  # the order of the stored values is the reverse
        ranks = [[above.size - 1 - rank for rank in pair] for pair in ranks]
    above.partition(sorted({rank for pair in ranks for rank in pair}))
    ends = [[float(above[rank]) * slope + intercept for rank in pair] for pair in ranks]
    found_low, found_high = (_between(low, high, place % 1) for (low, high), place in zip(ends, places, strict=True))
    return found_low, found_high


def _between(low: float, high: float, share: float) -> float:
    """Interpolate as numpy does, to the last bit: from the nearer end."""
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
