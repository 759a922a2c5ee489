"""A journal of long work, so that a run that was killed goes on where it stopped.

    JOURNAL/
      <sha256>.npz    one result; its name is the hash of everything that it depends on

A result is found again only by the same key, name and toolkit version. Whatever cannot be read is a note and is
computed again, for nothing here is the only copy of anything. Nothing is ever deleted: the folder is the caller's to
remove, with what a killed run left half written in it.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from medsam_edge import __version__

from ..runtime.arrays import ArrayArchive, ArrayHeader
from ..runtime.errors import ArtefactError, BundleError, MedSAMEdgeError, UsageError
from ..runtime.files import explained, open_file, write_atomic
from ..runtime.schema import to_plain
from ..runtime.types import AnyArray

SCHEMA = "medsam-edge/journal/1"
SUFFIX = ".npz"
_HEAD = "head"  # the other arrays are numbered: tensors' names are no file names


@dataclass(frozen=True, eq=False)
class Entry:
    """One result. After a round through the journal tuples are lists and dataclasses are mappings.

    Attributes:
        value: Anything that JSON can hold.
        arrays: Any names, any plain dtypes and shapes; read-only once they were stored.
    """

    value: object = None
    arrays: Mapping[str, AnyArray] = field(default_factory=dict)


class Journal:
    """Results of one piece of work. The folder is made, for its owner alone, by the first `store`.

    Args:
        path: The folder. Journals of several keys may share it.
        key: Everything that all results depend on, as JSON can hold it: hashes of the graph and the images, options.

    Raises:
        UsageError: The key holds what JSON cannot.
    """

    def __init__(self, path: str | Path, key: Mapping[str, object]) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        """What was damaged and is computed again, a sentence each."""
        self._key = _plain(key, "key")

    def once(self, name: str, compute: Callable[[], Entry]) -> Entry:
        """Return the stored result, or compute and store it; both give the same entry.

        Raises:
            UsageError: As `store`.
            StorageError: As `store`.
        """
        return self.find(name) or self.store(name, compute())

    def find(self, name: str) -> Entry | None:
        """Return a stored result, or None where there is none that can be read."""
        path = self._file(name)
        try:
            with explained("a journal that can be read", path):
                if not path.exists():
                    return None
            with open_file(path) as stream:
                return _decoded(stream, path.stat().st_size, self._identity(name))
        except (MedSAMEdgeError, ValueError, RecursionError) as error:
            found = error.found if isinstance(error, MedSAMEdgeError) else str(error)
            self.notes.append(f"{path.name} cannot be used ({found}) and is computed again")
            return None

    def store(self, name: str, entry: Entry) -> Entry:
        """Store a result whole or not at all, and return it as `find` will.

        Raises:
            UsageError: The value holds what JSON cannot, or an array holds Python objects.
            StorageError: The disk is full, or the folder cannot be written.
        """
        data = _encoded(entry, self._identity(name))
        with explained("a journal that can be written", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self._file(name), data)
        return _decoded(io.BytesIO(data), len(data), self._identity(name))

    def _identity(self, name: str) -> dict[str, object]:
        return {"schema": SCHEMA, "toolkit_version": __version__, "key": self._key, "name": name}

    def _file(self, name: str) -> Path:
        text = json.dumps(self._identity(name), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return self.path / (hashlib.sha256(text.encode("ascii")).hexdigest() + SUFFIX)


def _plain(value: object, where: str) -> object:
    try:
        return to_plain(value, where)
    except (BundleError, RecursionError) as error:
        found = error.found if isinstance(error, BundleError) else "a nesting without end"
        raise UsageError("something that JSON can hold", found, "convert it to numbers, texts and lists") from error


def _encoded(entry: Entry, identity: Mapping[str, object]) -> bytes:
    head = {**identity, "value": _plain(entry.value, "value"), "arrays": list(entry.arrays)}
    members = {_HEAD: np.frombuffer(json.dumps(head, allow_nan=False).encode("ascii"), np.uint8)}
    for number, (name, array) in enumerate(entry.arrays.items()):
        if np.asarray(array).dtype.hasobject:
            raise UsageError(f"plain numbers in {name}", "Python objects", "convert them")
        members[str(number)] = np.asarray(array)
    target = io.BytesIO()
    np.savez(target, **members)  # type: ignore[arg-type]  # its stub takes the names for its own options
    return target.getvalue()


def _decoded(stream: BinaryIO, size: int, identity: Mapping[str, object]) -> Entry:
    """Read an entry; zip's checksums tell a damaged one.

    Raises:
        MedSAMEdgeError: It is damaged, or another one than its file's name says.
        ValueError: Its head is not what this module writes.
    """

    def accept(header: ArrayHeader) -> None:
        if header.nbytes > size:
            raise ArtefactError("arrays no larger than their file", f"{header.nbytes:,} bytes", "compute it again")

    archive = ArrayArchive(stream)
    head = json.loads(archive.read(_HEAD, accept).tobytes())
    if not isinstance(head, dict) or any(head.get(part) != identity[part] for part in identity):
        raise ArtefactError("the result that the file's name says", "another one", "compute it again")
    return Entry(head["value"], {name: archive.read(str(at), accept) for at, name in enumerate(head["arrays"])})
