"""Which file is a volume, what it is called, and its reader: one `match` over the formats."""

import re
from pathlib import Path

import numpy as np

from ..errors import VolumeError
from ..types import AnyArray
from .challenge import holds_volume, read_challenge
from .nifti import SUFFIXES, read_nifti
from .nrrd import read_nrrd
from .volume import UNKNOWN, Volume

# Words of a file's name, in capitals, and the modality that they mean.
_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PET"}
_ENDINGS = (*SUFFIXES[::-1], ".nrrd", ".npz")


def is_volume(path: Path) -> bool:
    """Tell a volume from an image, by the ending; an .npz by its name or its boxes.

    Raises:
        StorageError: An .npz that is missing or may not be read.
    """
    name = path.name.lower()
    return holds_volume(path) if name.endswith(".npz") else name.endswith(_ENDINGS)


def stem_of(path: Path) -> str:
    """The file's name without its ending, `.nii.gz` included."""
    ending = next((ending for ending in _ENDINGS if path.name.lower().endswith(ending)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def modality_of(path: Path) -> str:
    """What the file's name says, in the challenge's manner: "CT" for `3DBox_CT_0566.npz`; "unknown" where it is silent.

    A name with two different ones says nothing.
    """
    found = {_MODALITIES[word] for word in re.split(r"[^A-Za-z0-9]", stem_of(path)) if word in _MODALITIES}
    return found.pop() if len(found) == 1 else UNKNOWN


def read_volume(path: Path, modality: str | None = None) -> Volume:
    """Read a volume.

    Args:
        path: .nii, .nii.gz, .nrrd, or the challenge's .npz.
        modality: "CT", "MR", "PET", …; None takes what the name says.

    Raises:
        VolumeError: Another kind of file, or one that its reader refuses.
        MissingExtraError: As its reader.
        StorageError: The file is missing or may not be read.
    """
    known = modality_of(path) if modality is None else modality
    match path.name.lower():
        case name if name.endswith(SUFFIXES):
            return read_nifti(path, known)
        case name if name.endswith(".nrrd"):
            return read_nrrd(path, known)
        case name if name.endswith(".npz"):
            return read_challenge(path, known)
    raise VolumeError("a volume: .nii, .nii.gz, .nrrd or .npz", f"{path.name}", "convert it to one of these")


def read_label_volume(path: Path) -> Volume:
    """Read a volume whose voxels are labels: whole numbers, 0 for the background. Floats are taken if they are whole.

    Raises:
        VolumeError: As `read_volume`, or values that are no labels.
        MissingExtraError, StorageError: As `read_volume`.
    """
    npz = path.name.lower().endswith(".npz")
    volume = read_challenge(path, labels=True) if npz else read_volume(path)
    check_labels(volume)
    return volume


def check_labels(volume: Volume) -> None:
    """Refuse voxels that are not whole numbers of 0 or more, or that are rescaled.

    Raises:
        VolumeError: Naming the first slice with another value.
    """
    if volume.rescale != (1.0, 0.0):
        raise VolumeError("labels as they are stored", f"a slope and intercept of {volume.rescale}", _INTEGERS)
    for index, plane in enumerate(volume.voxels):
        if not _whole(plane):
            where = f"other values in slice {index} of {volume.path.name if volume.path else 'the volume'}"
            raise VolumeError("labels: whole numbers from 0 to 2147483647", where, _INTEGERS)


def _whole(plane: AnyArray) -> bool:
    if plane.dtype.kind == "f" and not (np.isfinite(plane).all() and (plane == np.rint(plane)).all()):
        return False
    return bool(plane.min() >= 0 and plane.max() <= np.iinfo(np.int32).max)


_INTEGERS = "save one integer per voxel, 0 for the background, without scaling"
