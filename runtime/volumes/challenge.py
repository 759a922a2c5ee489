"""The 3D .npz of the CVPR 2024 challenge: `imgs` uint8 `(D, H, W)`; `boxes`, `spacing`, `gts` where they are.

`spacing` is x, y, z, as pre_CT_MR.py of bowang-lab/MedSAM writes it; there are tools that read it as z, y, x. No
orientation is known, and none is made up.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arrays import ArrayArchive, ArrayHeader
from ..errors import UsageError, VolumeError
from ..files import open_file
from ..labels import NPZ_KEYS
from ..types import AnyArray
from .streams import explaining
from .volume import UNKNOWN, Geometry, Volume, check_size

SUFFIX = ".npz"
MAX_BOXES = 65535
_SAVE = "save it as the challenge does"


@dataclass(frozen=True)
class ChallengeForm:
    """Writes labels as the challenge wants them: key `segs`, and the `spacing` that the volume had, if any."""

    spacing: tuple[float, ...] | None

    @property
    def suffix(self) -> str:
        """NumPy's archive."""
        return SUFFIX

    def encode(self, labels: AnyArray) -> bytes:
        """Return the file for labels uint8 or uint16 `(D, H, W)`."""
        buffer = io.BytesIO()
        arrays = {"segs": labels} | ({} if self.spacing is None else {"spacing": np.array(self.spacing)})
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes the names for its own options
        return buffer.getvalue()


def read_challenge(path: Path, modality: str = UNKNOWN, labels: bool = False) -> Volume:
    """Read the volume of a challenge .npz, or its labels (`gts`, else `segs`).

    Raises:
        VolumeError: The array is absent, damaged, too large, or not of three axes; an image that is not uint8.
        StorageError: The file is missing or may not be read.
    """
    with explaining(path), open_file(path) as stream:
        archive = ArrayArchive(stream)
        key = next((key for key in NPZ_KEYS if key in archive.names), NPZ_KEYS[0]) if labels else "imgs"
        voxels = archive.read(key, _accept_labels if labels else _accept_image)
        spacing = _spacing(archive)
    affine = np.diag([*(spacing or (1.0, 1.0, 1.0)), 1.0])
    return Volume(voxels, Geometry(affine), ChallengeForm(spacing), modality, path)


def read_challenge_boxes(path: Path) -> AnyArray | None:
    """Read `boxes` as they stand, float64 `(N, 6)` x_min, y_min, z_min, x_max, y_max, z_max; None where there are none.

    Raises:
        VolumeError: They are damaged or of another shape.
        StorageError: The file is missing or may not be read.
    """
    with explaining(path), open_file(path) as stream:
        archive = ArrayArchive(stream)
        return archive.read("boxes", _accept_boxes).astype(np.float64) if "boxes" in archive.names else None


def holds_volume(path: Path) -> bool:
    """Tell a volume's .npz from an image's: by the challenge's own rule, a name that begins with 3D, or by six columns.

    Raises:
        StorageError: The file is missing or may not be read.
    """
    if path.name.startswith("3D"):
        return True
    try:
        boxes = read_challenge_boxes(path)
    except UsageError:  # of an image, or damaged: whoever reads it will say so
        return False
    return boxes is not None


def _accept_image(header: ArrayHeader) -> None:
    check_size(header.shape, header.dtype)
    if header.dtype != np.uint8:
        raise VolumeError("`imgs` of 8 bits", f"{header.dtype}", _SAVE)


def _accept_labels(header: ArrayHeader) -> None:
    check_size(header.shape, header.dtype)


def _accept_boxes(header: ArrayHeader) -> None:
    if header.dtype.kind not in "iuf" or len(header.shape) != 2 or header.shape[1] != 6 or header.shape[0] > MAX_BOXES:
        found = f"{header.dtype} of shape {header.shape}"
        raise VolumeError("`boxes` (N, 6) x_min, y_min, z_min, x_max, y_max, z_max", found, _SAVE)


def _spacing(archive: ArrayArchive) -> tuple[float, ...] | None:
    if "spacing" not in archive.names:
        return None

    def accept(header: ArrayHeader) -> None:
        if header.dtype.kind not in "iuf" or header.shape != (3,):
            raise VolumeError("`spacing` of three numbers x, y, z", f"shape {header.shape}", _SAVE)

    spacing = tuple(float(one) for one in archive.read("spacing", accept))
    if not all(np.isfinite(one) and one > 0 for one in spacing):
        raise VolumeError("spacings above 0", f"{spacing}", _SAVE)
    return spacing
