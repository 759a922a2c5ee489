"""Reads cases: an image with boxes and reference masks, in the form of the CVPR 2024 MedSAM challenge.

A case is an .npz with `imgs`, and `boxes`, `gts` or both. A folder of them may hold a `cases.csv` that says
of each its modality, patient, split and checksum. Volumes are no cases of this kind yet: rows of the csv that
name a NIfTI file are skipped, a `3DBox_….npz` is refused. Knows nothing about models.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import ArrayArchive, ArrayHeader
from .boxes import boxes_from_labels, check_boxes
from .errors import CaseError, UsageError
from .files import list_folder, read_bytes
from .pixels import accept_pixels, as_image
from .types import AnyArray, Boxes, Case, Masks

MAX_CASE_BYTES = 2**30
MAX_CSV_BYTES = 2**24
MAX_MASK_BYTES = 2**31  # (N, H, W) of bool is what a case costs in memory
MAX_BOXES = 100_000
_COLUMNS = ("id", "file", "modality", "patient")


@dataclass(frozen=True)
class _Row:
    """One case of a folder, before it is read."""

    path: Path
    id: str
    modality: str
    patient: str
    split: str = ""
    sha256: str = ""


def read_case(path: Path) -> Case:
    """Read one case from a challenge .npz.

    Boxes that are missing are the tight boxes of `gts`. Where both are there, boxes belong to the labels of
    `gts` in ascending order; the numbering may have gaps. The modality comes from the file's name,
    `2DBox_<Modality>_…`, or is "unknown"; the patient is the case's own id.

    Raises:
        CaseError: Unreadable, or neither `boxes` nor `gts`, or the two disagree, or an unusable image or box.
        StorageError: The file is missing or may not be read.
    """
    path = Path(path)
    return _read_row(_row_from_name(path))


def read_cases(folder: Path, split: str | None = None) -> Iterator[Case]:
    """Read the cases of a folder one at a time, sorted by file name.

    Args:
        folder: Holds `*.npz` and maybe `cases.csv`.
        split: Only the cases that `cases.csv` puts into this split; a file that it does not list is in none.

    Returns:
        An iterator: only one case is in memory at a time, and a damaged one raises when its turn comes.

    Raises:
        CaseError: No cases, an unknown split, or a malformed `cases.csv`. While iterating: as `read_case`, or
            a checksum that differs from the one in `cases.csv`.
        StorageError: The folder or a file cannot be read.
    """
    folder = Path(folder)
    rows = _rows_of(folder)
    if not rows:
        raise CaseError("a folder with *.npz cases", f"none in {folder}", "check the path")
    if split is not None:
        known = sorted({row.split for row in rows} - {""})
        rows = [row for row in rows if row.split == split]
        if not rows:
            found = f"only {', '.join(known)}" if known else "no case with a split"
            raise CaseError(f"cases of split “{split}” in {folder}", found, "check `split` in cases.csv")
    return (_read_row(row) for row in rows)


def _rows_of(folder: Path) -> list[_Row]:
    """Every case file of a folder, with what `cases.csv` knows about it."""
    entries = list_folder(folder)
    files = [path for path in entries if path.suffix == ".npz"]
    table = folder / "cases.csv"
    listed = {row.path: row for row in _rows_of_csv(table)} if table in entries else {}
    if missing := sorted(listed.keys() - set(files)):
        found = f"{missing[0].name} missing"
        raise CaseError(f"every file that {folder}/cases.csv lists", found, "copy it there or remove its row")
    return [listed.get(path, _row_from_name(path)) for path in files]


def _row_from_name(path: Path) -> _Row:
    """What the challenge's file names say."""
    words = path.stem.split("_")
    modality = words[1] if words[0] == "2DBox" and len(words) > 2 else "unknown"
    return _Row(path, path.stem, modality, path.stem)


def _rows_of_csv(path: Path) -> list[_Row]:
    """The rows of `cases.csv` that name .npz files."""
    try:
        table = csv.DictReader(io.StringIO(read_bytes(path, MAX_CSV_BYTES).decode("utf-8-sig")), strict=True)
        records = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaseError("a UTF-8 csv table", f"{error} in {path}", "save the table as csv again") from error
    if lacking := [name for name in _COLUMNS if name not in (table.fieldnames or ())]:
        found = f"no {', '.join(lacking)} in {path}"
        raise CaseError(f"columns {', '.join(_COLUMNS)}", found, "add the columns to its first line")
    rows = [_row_from_record(record, path) for record in records]
    _check_unique(rows, path)
    return [row for row in rows if row.path.suffix == ".npz"]


def _row_from_record(record: dict[str, str], table: Path) -> _Row:
    """Check one row; a short row leaves None in its last columns, a long one has its rest under None."""
    cells = {name: (record.get(name) or "").strip() for name in (*_COLUMNS, "split", "sha256")}
    file, case_id = cells["file"], cells["id"]
    if not file or not case_id or Path(file).name != file or Path(case_id).name != case_id:
        found = f"file “{file}” and id “{case_id}” in {table}"
        raise CaseError("a plain file name and id in each row", found, "name files beside the table, without folders")
    split, digest = cells["split"], cells["sha256"].lower()
    modality, patient = cells["modality"] or "unknown", cells["patient"] or case_id
    return _Row(table.parent / file, case_id, modality, patient, split, digest)


def _check_unique(rows: list[_Row], table: Path) -> None:
    """Refuse a table that would count a case twice, or let a patient stand on both sides of a comparison."""
    for names in ([row.id for row in rows], [row.path.name for row in rows]):
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise CaseError("each case once", f"“{repeated[0]}” twice in {table}", "remove one of the rows")
    split_of: dict[str, str] = {}
    for row in rows:
        if split_of.setdefault(row.patient, row.split) != row.split:
            found = f"patient “{row.patient}” in {split_of[row.patient]!r} and {row.split!r} in {table}"
            raise CaseError("each patient in one split", found, "move all cases of a patient to one split")


def _read_row(row: _Row) -> Case:
    """Read, verify and name one case; every complaint carries the file's name."""
    data = read_bytes(row.path, MAX_CASE_BYTES)
    if row.sha256 and (digest := hashlib.sha256(data).hexdigest()) != row.sha256:
        found = f"{digest[:12]}… at {row.path}"
        raise CaseError(f"the sha256 {row.sha256[:12]}… that cases.csv gives", found, "copy the file again")
    try:
        image, boxes, masks = _parts_of(ArrayArchive(io.BytesIO(data)))
    except UsageError as error:
        raise CaseError(error.expected, f"{error.found} in {row.path}", error.remedy) from error
    return Case(row.id, image, boxes, masks, row.modality, row.patient)


def _parts_of(archive: ArrayArchive) -> tuple[AnyArray, Boxes, Masks | None]:
    """Read the three arrays of a case and make them agree."""
    image = as_image(np.array(archive.read("imgs", accept_pixels)))
    height, width = image.shape[:2]
    given = archive.read("boxes", _accept_boxes) if "boxes" in archive.names else None
    if "gts" not in archive.names:
        if given is None:
            found = ", ".join(f"`{name}`" for name in archive.names)
            raise CaseError("`boxes`, `gts` or both", f"only {found}", "add the array that is missing")
        return image, check_boxes(given, (height, width)), None
    labels = archive.read("gts", _accept_labels((height, width)))
    tight, ids = boxes_from_labels(labels)
    if given is not None and len(given) != len(ids):
        found = f"{len(given)} boxes and {len(ids)} labels"
        raise CaseError("one box for each label", found, "give boxes in the order of the labels, or leave them out")
    return image, check_boxes(tight if given is None else given, (height, width)), _masks_of(labels, ids)


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
