"""Records a person's board: the very files that are read here, as one JSON file without identifiers.

Such a record is a board for tests, and tells us what a board that we do not have says. It holds only what the readers
ask for, so no serial number, address, host name or user is looked at; what looks like one all the same is taken out.
"""

import json
import re
from pathlib import Path, PurePosixPath

from medsam_edge import __version__

from ..errors import ArtefactError, BundleError
from ..manifest import load_object
from .board import DESKTOPS, read_board, system_pythons
from .sensors import sensors
from .system_files import SystemFiles

SCHEMA = "medsam-edge/board-files/1"
REMOVED = "[removed]"
# Addresses of network cards, UUIDs, and numbers as long as a board's serial number: clocks have at most 10 digits.
_IDENTIFIERS = re.compile(
    r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\d{13,}"
)


def collect(root: Path = Path("/")) -> bytes:
    """Read the board as `doctor` does, and return what was read.

    Returns:
        JSON: the schema, who wrote it, and the text of each file by its path below `/`.
    """
    files = SystemFiles(root)
    read_board(files)
    sensors(files)
    system_pythons(files)
    kept = {name: _clean(text) for name, text in sorted(files.seen.items()) if _may_be_kept(name, text)}
    document = {"schema": SCHEMA, "about": "a real board", "toolkit_version": __version__, "files": kept}
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def unpack(data: bytes, folder: Path) -> None:
    """Write a record's files below a folder, which then is a root for `SystemFiles`.

    Raises:
        ArtefactError: It is no record, or names a file outside of the folder.
    """
    remedy = "record it again: `medsam-edge doctor --record FILE`"
    try:
        document = load_object(data)
    except BundleError as error:
        raise ArtefactError("a recorded board", error.found, remedy) from error
    files = document.get("files")
    if document.get("schema") != SCHEMA or not isinstance(files, dict):
        raise ArtefactError(f"a recorded board of the schema {SCHEMA}", repr(document.get("schema"))[:80], remedy)
    for name, text in files.items():
        path = PurePosixPath(str(name))
        if path.is_absolute() or ".." in path.parts:
            raise ArtefactError("paths below the board's root", repr(name)[:80], remedy)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(str(text), encoding="utf-8")


def _may_be_kept(name: str, text: str) -> bool:
    """Programs that run are nobody's business, but for the desktop, which takes memory."""
    return not name.endswith("/comm") or text in DESKTOPS


def _clean(text: str) -> str:
    return _IDENTIFIERS.sub(REMOVED, text)
