"""Reads cases: an image with boxes and reference masks, in the form of the CVPR 2024 MedSAM challenge.

A case is an .npz with `imgs`, and `boxes`, `gts` or both. `case_list` says which files are cases, and what else is
known of them: modality, patient, split and checksum. A volume, `3DBox_….npz`, is refused. Knows nothing about models.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .arrays import ArrayArchive, ArrayHeader
from .boxes import boxes_from_labels, check_boxes
from .case_list import CaseFile, case_file, list_cases
from .errors import CaseError, UsageError
from .files import read_bytes
from .pixels import accept_pixels, as_image
from .types import AnyArray, Boxes, Case, Masks

MAX_CASE_BYTES = 2**30
MAX_FLOAT_BYTES = 2**28  # a larger float image is refused by its type, without a look for NaN
MAX_MASK_BYTES = 2**31  # (N, H, W) of bool is what a case costs in memory
MAX_BOXES = 100_000


def read_case(path: Path) -> Case:
    """Read one case from a challenge .npz.

    Boxes that are missing are the tight boxes of `gts`. Where both are there, boxes belong to the labels of
    `gts` in ascending order; the numbering may have gaps. The modality comes from the file's name,
    `2DBox_<Modality>_…`, or is "unknown"; the patient is the case's own id.

    Raises:
        CaseError: Unreadable, or neither `boxes` nor `gts`, or the two disagree, or an unusable image or box.
        StorageError: The file is missing or may not be read.
    """
    return read_listed(case_file(Path(path)))[0]


def read_cases(source: Path, split: str | None = None) -> Iterator[Case]:
    """Read the cases of a folder, of a csv list or of one .npz, one at a time, in the order of `list_cases`.

    Args:
        source: As `list_cases` takes it.
        split: Only the cases that the csv puts into this split; a file that it does not list is in none.

    Returns:
        An iterator: only one case is in memory at a time, and a damaged one raises when its turn comes.

    Raises:
        CaseError, StorageError: As `list_cases`; while iterating, as `read_listed`.
    """
    files = list_cases(source, split)
    return (read_listed(file)[0] for file in files)


def read_listed(file: CaseFile) -> tuple[Case, str]:
    """Read, verify and name one case of a list.

    Returns:
        The case, and the SHA-256 of its file.

    Raises:
        CaseError: As `read_case`, or a checksum that differs from the recorded one. It names the file.
        StorageError: The file is missing or may not be read.
    """
    data = read_bytes(file.path, MAX_CASE_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if file.sha256 and digest != file.sha256:
        found = f"{digest[:12]}… at {file.path}"
        raise CaseError(f"the sha256 {file.sha256[:12]}… recorded for this case", found, "copy the file again")
    try:
        image, boxes, masks = _parts_of(ArrayArchive(io.BytesIO(data)))
    except UsageError as error:
        raise CaseError(error.expected, f"{error.found} in {file.path}", error.remedy) from error
    return Case(file.id, image, boxes, masks, file.modality, file.patient), digest


def _parts_of(archive: ArrayArchive) -> tuple[AnyArray, Boxes, Masks | None]:
    """Read the three arrays of a case and make them agree."""
    image = as_image(np.array(archive.read("imgs", _accept_image)))
    height, width = image.shape[:2]
    given = archive.read("boxes", _accept_boxes) if "boxes" in archive.names else None
    if "gts" not in archive.names:
        if given is None:
            found = ", ".join(f"`{name}`" for name in archive.names)
            raise CaseError("`boxes`, `gts` or both", f"only {found}", "add the array that is missing")
        return image, check_boxes(given, (height, width)), None
    labels = archive.read("gts", _accept_labels((height, width)))
    tight, ids = boxes_from_labels(labels)
    if given is None and not len(ids):
        raise CaseError("at least one box or one object in `gts`", "background only", "leave the case out")
    if given is not None and len(given) != len(ids):
        found = f"{len(given)} boxes and {len(ids)} labels"
        raise CaseError("one box for each label", found, "give boxes in the order of the labels, or leave them out")
    return image, check_boxes(tight if given is None else given, (height, width)), _masks_of(labels, ids)


def _accept_image(header: ArrayHeader) -> None:
    """Let floats pass as far as `as_image`, which refuses them too, and says how many are not even numbers."""
    if header.dtype.kind != "f" or header.nbytes > MAX_FLOAT_BYTES:
        accept_pixels(header)


def _accept_boxes(header: ArrayHeader) -> None:
    """Bound what `check_boxes` will have to read."""
    if header.dtype.kind not in "iuf" or len(header.shape) != 2 or header.shape[0] > MAX_BOXES:
        found = f"{header.dtype} of shape {header.shape}"
        raise CaseError("`boxes` (N, 4) as numbers", found, "save x_min, y_min, x_max, y_max of each object")
    if header.shape[1] != 4:
        raise CaseError("`boxes` (N, 4)", f"shape {header.shape}", "pass boxes of one slice, not of a volume")


def _accept_labels(image_hw: tuple[int, int]) -> Callable[[ArrayHeader], None]:
    """A label map must be as large as its image."""

    def accept(header: ArrayHeader) -> None:
        if header.dtype.kind not in "iu" or header.shape != image_hw:
            found = f"{header.dtype} of shape {header.shape}"
            raise CaseError(f"`gts` as an integer label map of shape {image_hw}", found, "save it like the image")

    return accept


def _masks_of(labels: AnyArray, ids: AnyArray) -> Masks:
    """One reference mask per label."""
    if len(ids) * labels.size > MAX_MASK_BYTES:
        found = f"{len(ids)} objects on {labels.shape[0]} x {labels.shape[1]} pixels"
        limit = f"masks of at most {MAX_MASK_BYTES // 2**30} GiB together"
        raise CaseError(limit, found, "cut the case into smaller ones")
    masks: Masks = labels[None] == ids[:, None, None]
    return masks
