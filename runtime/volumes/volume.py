"""The volume type: voxels, where they lie in the patient, and how a label map of them is written back.

Readers of all formats give this one type, and everything after them knows no format. Two orders of the three axes
meet here, and both are kept as they are used in the field: arrays are `(D, H, W)`, and an affine takes `(i, j, k)`,
which are column, row and slice. So `voxels[k, j, i]` lies at `affine @ (i, j, k, 1)`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import VolumeError
from ..types import AnyArray

Affine = npt.NDArray[np.float64]  # (4, 4)
# What turns the first two axes of a space into right and anterior; the third is superior in each.
_TO_RAS = {"RAS": (1.0, 1.0), "LPS": (-1.0, -1.0), "LAS": (-1.0, 1.0)}
UNKNOWN = "unknown"  # a space or a modality that the file does not name
_PLUS, _MINUS = "RAS", "LPI"
MAX_SIDE = 16384
MAX_VOXEL_BYTES = 2**31  # 2 GiB: 4,096 slices of 512 x 512 in 16 bits
KINDS = "uif"  # of numbers; complex, RGB and structured voxels are no grey levels


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where voxels lie.

    Attributes:
        affine: float64 `(4, 4)`, from `(i, j, k, 1)` to the space's units (mm unless the file says otherwise), exactly
            as the file has it.
        space: What the affine's axes are: "RAS" (NIfTI), "LPS" (DICOM, ITK), "LAS", or "unknown".

    Raises:
        VolumeError: The affine is not finite, or squeezes the volume flat.
    """

    affine: Affine
    space: str = UNKNOWN

    def __post_init__(self) -> None:
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise VolumeError("an affine (4, 4) of finite numbers", "NaN, infinity or another shape", _MEND)
        with np.errstate(all="ignore"):  # huge numbers overflow, and are refused by the comparison
            axes = self.affine[:3, :3] / (np.abs(self.affine[:3, :3]).max() or 1)
            flat = np.linalg.matrix_rank(axes) != 3
        if flat:
            raise VolumeError("axes that span a volume", "an affine whose axes lie in one plane", _MEND)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbours along i, j and k: column, row, slice."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def ras(self) -> Affine | None:
        """The affine to right, anterior, superior; None where the space is not known."""
        signs = _TO_RAS.get(self.space)
        return None if signs is None else np.diag([*signs, 1.0, 1.0]) @ self.affine

    @property
    def orientation(self) -> str | None:
        """Where i, j and k run to, such as "LPS"; None where the space is not known."""
        axes = self.world_axes()
        return None if axes is None else "".join((_PLUS if up else _MINUS)[axis] for axis, up in axes)

    def world_axes(self) -> tuple[tuple[int, bool], ...] | None:
        """For i, j and k: the nearest of right-left, anterior-posterior and superior-inferior, each given once.

        Returns:
            `(0, 1 or 2, whether it runs to right, anterior or superior)` for each; None where the space is not known.
        """
        ras = self.ras
        if ras is None:
            return None
        cosines = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
        orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        best = max(orders, key=lambda order: sum(abs(cosines[axis, column]) for column, axis in enumerate(order)))
        return tuple((axis, bool(cosines[axis, column] > 0)) for column, axis in enumerate(best))


class LabelForm(Protocol):
    """How a label map is written in the format, and with the header, that its volume came with."""

    @property
    def suffix(self) -> str:
        """Of the file: ".nii.gz"."""
        ...

    def encode(self, labels: AnyArray) -> bytes:
        """Return the whole file for labels uint8 or uint16 `(D, H, W)`."""
        ...


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume as it was read.

    Attributes:
        voxels: `(D, H, W)` numbers as stored, in the machine's byte order; a grey level is `voxel * slope + intercept`.
        geometry: Where they lie.
        form: Writes a label map of the same shape back.
        modality: "CT", "MR", "PET", … or "unknown": NIfTI and NRRD have no word for it.
        path: Where it came from, or None.
        rescale: Slope and intercept.

    Raises:
        VolumeError: Not three axes with voxels, too large, or no plain numbers.
    """

    voxels: AnyArray
    geometry: Geometry
    form: LabelForm
    modality: str = UNKNOWN
    path: Path | None = None
    rescale: tuple[float, float] = (1.0, 0.0)

    def __post_init__(self) -> None:
        check_size(self.voxels.shape, self.voxels.dtype)
        slope, intercept = self.rescale
        if not np.isfinite(self.rescale).all() or slope == 0:
            raise VolumeError("a finite slope other than 0 and a finite intercept", f"{slope} and {intercept}", _MEND)

    @property
    def shape(self) -> tuple[int, int, int]:
        """D, H, W."""
        depth, height, width = self.voxels.shape
        return depth, height, width


def check_size(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Judge a volume by what its header promises, before memory is taken for it.

    Raises:
        VolumeError: Not three axes of 1 to `MAX_SIDE` voxels, more than `MAX_VOXEL_BYTES`, or no plain numbers.
    """
    if len(shape) != 3:
        remedy = "split it, and pass one volume of three axes"
        raise VolumeError("a volume (D, H, W)", f"{len(shape)} axes, shape {shape}", remedy)
    if min(shape) < 1 or max(shape) > MAX_SIDE:
        raise VolumeError(f"1 to {MAX_SIDE} voxels along each axis", f"shape {shape} (D, H, W)", _MEND)
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        raise VolumeError("voxels that are integers or floats of at most 64 bits", f"{dtype}", "convert the volume")
    if (size := shape[0] * shape[1] * shape[2] * dtype.itemsize) > MAX_VOXEL_BYTES:
        found = f"{size:,} bytes for shape {shape} of {dtype}"
        raise VolumeError(f"at most {MAX_VOXEL_BYTES:,} bytes of voxels", found, "crop it, or save it in 16 bits")


def same_place(one: Geometry, other: Geometry, shape: tuple[int, int, int]) -> bool:
    """Whether two geometries put the corners of a volume at the same places, to a tenth of its smallest spacing.

    Where one of the spaces is not known there is nothing to compare, and the answer is yes.
    """
    first, second = one.ras, other.ras
    if first is None or second is None:
        return True
    depth, height, width = shape
    ends = [(i, j, k, 1) for i in (0, width - 1) for j in (0, height - 1) for k in (0, depth - 1)]
    apart = np.linalg.norm(((first - second) @ np.array(ends, np.float64).T)[:3], axis=0).max()
    return bool(apart <= 0.1 * min(one.spacing))


_MEND = "export the volume again"
