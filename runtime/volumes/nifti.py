"""NIfTI-1 and NIfTI-2 in one file, plain or gzip: reads voxels, and writes labels under the same header.

What says where the voxels lie (dim, pixdim, units, qform, sform and their codes) is written back byte for byte. What
may name a person is not: free texts (`descrip`, `aux_file`, `db_name`, `intent_name`) are emptied, extensions left out.
"""

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError, VolumeError
from ..types import AnyArray
from .streams import Source, opened, packed
from .volume import UNKNOWN, Geometry, Volume, check_size

SUFFIXES = (".nii", ".nii.gz")
_LABEL_INTENT = 1002  # NIFTI_INTENT_LABEL: every voxel is an index of a list of names
_TEXTS = {"descrip", "aux_file", "db_name", "intent_name"}
_VALUES = {"cal_min", "cal_max", "glmin", "glmax", "intent_p1", "intent_p2", "intent_p3"}  # of the grey levels
_LENGTHS = (348, 540)
_AGAIN = "copy or export the volume again"


@dataclass(frozen=True)
class NiftiForm:
    """Writes labels under the header that a volume came with.

    Attributes:
        header: The header's bytes, without extensions.
    """

    header: bytes

    @property
    def suffix(self) -> str:
        """Always compressed: a label map packs a hundredfold."""
        return ".nii.gz"

    def encode(self, labels: AnyArray) -> bytes:
        """Return the file for labels uint8 or uint16 `(D, H, W)`."""
        header = _parsed(self.header)
        header.set_data_shape(labels.shape[::-1])
        header.set_data_dtype(labels.dtype)
        for name in header.keys():  # noqa: SIM118 - it is no mapping
            if name in _TEXTS | _VALUES:
                header[name] = b"" if name in _TEXTS else 0
        header["intent_code"] = _LABEL_INTENT
        header["scl_slope"], header["scl_inter"] = 1, 0
        header["vox_offset"] = len(self.header) + 4
        stored = labels.astype(labels.dtype.newbyteorder(header.endianness), copy=False)
        return packed(header.binaryblock + b"\0\0\0\0", stored)


def read_nifti(path: Path, modality: str = UNKNOWN) -> Volume:
    """Read a volume.

    Raises:
        VolumeError: Damaged, truncated, of four axes, complex or RGB, too large, without a usable affine, or the header
            of a pair of files.
        MissingExtraError: nibabel is not installed.
        StorageError: The file is missing or may not be read.
    """
    with opened(path) as source:
        block, header = _header(source)
        shape = _shape(header)
        with _nibabels_words():
            dtype = np.dtype(header.get_data_dtype())
        check_size(shape, dtype)
        with _nibabels_words():
            affine = np.asarray(header.get_best_affine(), np.float64)
            slope, intercept = header.get_slope_inter()
        geometry = Geometry(affine, "RAS")
        _check_offset(header, len(block))
        source.skip(int(header["vox_offset"]) - len(block), "extensions")
        voxels = source.voxels(shape, dtype)
    rescale = (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
    return Volume(voxels, geometry, NiftiForm(block), modality, path, rescale)


def _header(source: Source) -> tuple[bytes, Any]:
    """Read the bytes of the header, and what nibabel makes of them."""
    first = source.read(4, "a NIfTI header")
    lengths = (struct.unpack(order + "i", first)[0] for order in "<>")
    length = next((one for one in lengths if one in _LENGTHS), None)
    if length is None:
        raise VolumeError("a NIfTI-1 or NIfTI-2 header", "another beginning", "name a .nii or .nii.gz file")
    block = first + source.read(length - 4, "a NIfTI header")
    header = _parsed(block)
    magic = bytes(header["magic"].item()).rstrip(b"\0")
    if magic[:3] not in (b"n+1", b"n+2"):
        raise VolumeError("header and voxels in one NIfTI file", f"the mark {magic[:3]!r}", "save it as one .nii.gz")
    return block, header


def _parsed(block: bytes) -> Any:  # noqa: ANN401 - nibabel has no types
    try:
        from nibabel import nifti1, nifti2
    except ImportError as error:
        install = "pip install 'medsam-edge[volumes]'"
        raise MissingExtraError("nibabel, which reads NIfTI", "none", f"install it: {install}") from error
    kind = nifti1.Nifti1Header if len(block) == 348 else nifti2.Nifti2Header
    with _nibabels_words():
        return kind.from_fileobj(io.BytesIO(block), check=False)  # type: ignore[no-untyped-call]


@contextmanager
def _nibabels_words() -> Iterator[None]:
    """Whatever nibabel says of a damaged header is an error of ours, and nothing of it is logged."""
    logger = logging.getLogger("nibabel.global")
    before, logger.disabled = logger.disabled, True
    try:
        with np.errstate(all="ignore"):  # what overflows is infinite, and refused as such
            yield
    except Exception as error:  # its own kinds, and those of struct and numpy
        raise VolumeError("a sound NIfTI header", f"{type(error).__name__}: {error}", _AGAIN) from error
    finally:
        logger.disabled = before


def _shape(header: Any) -> tuple[int, ...]:  # noqa: ANN401
    """D, H, W; further axes of length 1 are left out."""
    with _nibabels_words():
        count = int(header["dim"][0])
        sizes = tuple(int(size) for size in header["dim"][1 : count + 1])
    if not 3 <= count <= 7 or any(size != 1 for size in sizes[3:]):
        found = f"{count} axes of {sizes} voxels"
        raise VolumeError("a volume of three axes", found, "split the series, and pass one volume")
    return sizes[2::-1]


def _check_offset(header: Any, length: int) -> None:  # noqa: ANN401
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or offset != int(offset) or not length <= offset <= 2**24:
        found = f"voxels that begin at byte {offset:g}"
        raise VolumeError(f"voxels behind the header of {length} bytes", found, _AGAIN)
