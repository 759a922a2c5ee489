"""Finds cases before any of them is read: the files of a folder, of a csv list, or one .npz, and what is said of each.

Volumes are no cases of this kind yet: rows that name a NIfTI file are skipped. Knows nothing of what a file holds.
"""

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .errors import CaseError
from .files import is_folder, list_folder, read_bytes

MAX_CSV_BYTES = 2**24
UNKNOWN_MODALITY = "unknown"
_COLUMNS = ("id", "file", "modality", "patient")


@dataclass(frozen=True)
class CaseFile:
    """One case before it is read.

    Attributes:
        path: The .npz file.
        id: Unique within its list.
        modality: As the list or the file's name gives it, or "unknown".
        patient: As the list gives it; the case's own id where nobody named one.
        patient_named: Whether `patient` is somebody's statement or only the case's id.
        split: The split that the list puts it into, or "".
        sha256: Of the file, lower case, where the list gives it, or "".
    """

    path: Path
    id: str
    modality: str
    patient: str
    patient_named: bool = False
    split: str = ""
    sha256: str = ""


def list_cases(source: Path, split: str | None = None) -> tuple[CaseFile, ...]:
    """Name the cases of a folder, of a csv list, or the one of an .npz.

    Args:
        source: A folder with `*.npz` and maybe a `cases.csv` about them; or a .csv anywhere, whose column `file`
            holds paths relative to itself and which alone says what is a case; or one .npz.
        split: Only the cases of this split; a file that no csv lists is in none.

    Returns:
        At least one case; a folder's in the order of file names, a csv's in the order of its rows.

    Raises:
        CaseError: No cases, an unknown split, a malformed csv, one that lists a file that is not there, or a source
            that is none of the three.
        StorageError: The source cannot be read.
    """
    source = Path(source)
    files = _files_of(source)
    if not files:
        raise CaseError("*.npz cases", f"none in {source}", "check the path")
    return files if split is None else _of_split(files, split, source)


def case_file(path: Path) -> CaseFile:
    """What a file's name says in the challenge's manner, `2DBox_<Modality>_…`."""
    words = path.stem.split("_")
    modality = words[1] if words[0] == "2DBox" and len(words) > 2 else UNKNOWN_MODALITY
    return CaseFile(path, path.stem, modality, path.stem)


def _files_of(source: Path) -> tuple[CaseFile, ...]:
    if is_folder(source):
        return _of_folder(source)
    match source.suffix.lower():
        case ".csv":
            files = _of_csv(source, anywhere=True)
            _check_there([file.path for file in files if not file.path.is_file()], source)
            return files
        case ".npz":
            return (case_file(source),)
    raise CaseError("a folder of cases, a .csv list of them or one .npz", f"{source}", "name one of the three")


def _of_folder(folder: Path) -> tuple[CaseFile, ...]:
    """Every case file of a folder, with what `cases.csv` knows about it."""
    entries = list_folder(folder)
    paths = [path for path in entries if path.suffix == ".npz"]
    table = folder / "cases.csv"
    listed = {file.path: file for file in _of_csv(table, anywhere=False)} if table in entries else {}
    _check_there(sorted(listed.keys() - set(paths)), table)
    return tuple(listed.get(path, case_file(path)) for path in paths)


def _check_there(missing: list[Path], table: Path) -> None:
    if missing:
        found = f"{missing[0].name} missing"
        raise CaseError(f"every file that {table} lists", found, "copy it there or remove its row")


def _of_split(files: tuple[CaseFile, ...], split: str, source: Path) -> tuple[CaseFile, ...]:
    known = sorted({file.split for file in files} - {""})
    if split not in known:
        found = f"only {', '.join(known)}" if known else "no case with a split"
        raise CaseError(f"cases of split “{split}” in {source}", found, "check the column `split` of the csv")
    return tuple(file for file in files if file.split == split)


def _of_csv(path: Path, anywhere: bool) -> tuple[CaseFile, ...]:
    """The rows of a csv that name .npz files; unless `anywhere`, only files beside it."""
    try:
        table = csv.DictReader(io.StringIO(read_bytes(path, MAX_CSV_BYTES).decode("utf-8-sig")), strict=True)
        records = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaseError("a UTF-8 csv table", f"{error} in {path}", "save the table as csv again") from error
    if lacking := [name for name in _COLUMNS if name not in (table.fieldnames or ())]:
        found = f"no {', '.join(lacking)} in {path}"
        raise CaseError(f"columns {', '.join(_COLUMNS)}", found, "add the columns to its first line")
    files = tuple(_of_record(record, path, anywhere) for record in records)
    _check_unique(files, path)
    return tuple(file for file in files if file.path.suffix == ".npz")


def _of_record(record: dict[str, str], table: Path, anywhere: bool) -> CaseFile:
    """Check one row; a short row leaves None in its last columns, a long one has its rest under None."""
    cells = {name: (record.get(name) or "").strip() for name in (*_COLUMNS, "split", "sha256")}
    file, case_id = cells["file"], cells["id"]
    if not file or not case_id or Path(case_id).name != case_id:
        found = f"file “{file}” and id “{case_id}” in {table}"
        raise CaseError("a plain file name and id in each row", found, "fill in both; an id is no path")
    if not anywhere and Path(file).name != file:
        found = f"file “{file}” in {table}"
        remedy = "name files beside the table, or name the table itself in place of its folder"
        raise CaseError("a plain file name in each row", found, remedy)
    modality, patient = cells["modality"] or UNKNOWN_MODALITY, cells["patient"]
    path, digest = Path(os.path.normpath(table.parent / file)), cells["sha256"].lower()
    return CaseFile(path, case_id, modality, patient or case_id, bool(patient), cells["split"], digest)


def _check_unique(files: tuple[CaseFile, ...], table: Path) -> None:
    """Refuse a table that would count a case twice, or let a patient stand on both sides of a comparison."""
    for names in ([file.id for file in files], [str(file.path) for file in files]):
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            found = f"“{Path(repeated[0]).name}” twice in {table}"
            raise CaseError("each case once", found, "remove one of the rows")
    split_of: dict[str, str] = {}
    for file in files:
        if split_of.setdefault(file.patient, file.split) != file.split:
            found = f"patient “{file.patient}” in {split_of[file.patient]!r} and {file.split!r} in {table}"
            raise CaseError("each patient in one split", found, "move all cases of a patient to one split")
