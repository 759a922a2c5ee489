"""Writes a bundle so that whatever happens, the folder holds the old bundle or the new one.

Files go in under the names of their hashes, beside those of the old bundle; replacing `manifest.json` is the
commit. Before it an error takes back what was added, after it the files that nobody lists any more go, and a
process that was killed leaves only files that the next commit removes. This module knows nothing of what the
graphs compute; `bundle` reads what it wrote. A bundle on a device is never written.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from medsam_edge import __version__

from .claim import LOCK_NAME, check_destination, explained, is_ours, is_temporary, lock
from .errors import BundleError
from .external_data import check_external_data
from .files import mapped, read_bytes, write_atomic
from .golden import Golden, encode_golden
from .manifest import (
    MANIFEST_NAME,
    SCHEMA,
    SUFFIXES,
    FileEntry,
    GraphEntry,
    Manifest,
    Model,
    PartSpec,
    WeightsEntry,
    encode,
    file_name,
    parse,
    seal,
    weights_name,
)

MAX_GRAPH_BYTES = 2**31 - 1  # protobuf's own limit for one ONNX file
CHUNK = 1 << 20


class BundleWriter:
    """Collects a bundle's files and commits them at once.

        with BundleWriter(path) as writer:
            writer.add_graph(data, part="encoder", precision="fp32", form="bias", targets=("openvino",))
            writer.commit(model=model, profile=profile, pipeline=("encoder",), parts=parts, embedding_size=64)

    A new commit lists what this writer added and nothing else: to extend a bundle, add its old files again
    (a file that is already there is not written twice). A reader that opens the bundle during a commit may
    find a file of the old one gone; it then says so.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._graphs: list[GraphEntry] = []
        self._golden: list[FileEntry] = []
        self._records: list[FileEntry] = []
        self._made: list[Path] = []  # folders that were not there before, the innermost first
        self._added: list[Path] = []  # files that were not there before
        self._pending = b""  # the manifest that is being committed
        self._lock: int | None = None

    def __enter__(self) -> "BundleWriter":
        """Claim the folder.

        Raises:
            UsageError: The path is a file, or a folder with something else than a bundle in it.
            StorageError: Another process is writing there, or nobody may.
        """
        with explained(self.path):
            check_destination(self.path)
            self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = lock(self.path)
            except BaseException:
                self._remove_made()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._roll_back()
            _remove(self.path / LOCK_NAME)
            self._remove_made()
        finally:
            if self._lock is not None:
                os.close(self._lock)
            self._lock = None

    def add_graph(
        self,
        source: bytes | Path,
        *,
        part: str,
        precision: str,
        form: str,
        targets: Sequence[str],
        weights: Sequence[bytes | memoryview | Path] = (),
        judged: Sequence[str] = (),
    ) -> GraphEntry:
        """Add an ONNX graph, given as its bytes or as a file to copy.

        Args:
            source: The ONNX file.
            part, precision, form, targets, judged: What the manifest says of it.
            weights: The files that it refers to, each as "<its SHA-256>.bin"; none where it holds its weights itself.

        Raises:
            BundleError: It refers to other files than these.
            StorageError: A source cannot be read, is larger than ONNX allows, or the disk is full.
        """
        data = read_bytes(source, MAX_GRAPH_BYTES) if isinstance(source, Path) else source
        beside = tuple(self._add_weights(one) for one in weights)
        file, sha256 = self._store("graphs", data)
        check_external_data(file, data, beside)
        entry = GraphEntry(part, precision, form, tuple(targets), file, sha256, len(data), beside, tuple(judged))
        self._graphs.append(entry)
        return entry

    def _add_weights(self, source: bytes | memoryview | Path) -> WeightsEntry:
        data = mapped(source) if isinstance(source, Path) else source
        sha256 = hashlib.sha256(data).hexdigest()
        self._write(weights_name(sha256), data)
        return WeightsEntry(weights_name(sha256), sha256, len(data))

    def add_golden(self, golden: Golden) -> FileEntry:
        """Add a golden case.

        Raises:
            BundleError: Its arrays do not belong together.
            StorageError: The disk is full or the folder cannot be written.
        """
        return self._add(self._golden, "golden", golden.id, encode_golden(golden))

    def add_record(self, kind: str, record: Mapping[str, object]) -> FileEntry:
        """Add a record, such as what `verify` found.

        Raises:
            BundleError: JSON cannot hold it.
            StorageError: The disk is full or the folder cannot be written.
        """
        try:
            text = json.dumps(dict(record), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
            data = (text + "\n").encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise BundleError(f"a record of {kind} in JSON", str(error), "store plain finite values") from error
        return self._add(self._records, "records", kind, data)

    def commit(
        self,
        *,
        model: Model,
        profile: Mapping[str, object],
        pipeline: Sequence[str],
        parts: Sequence[PartSpec],
        embedding_size: int,
        created: str | None = None,
    ) -> Manifest:
        """Make what was added the bundle, and remove what the old one had and this one has not.

        Args:
            model: The checkpoint's identity.
            profile: The pre- and post-processing contract, as data.
            pipeline: Names of the parts in the order in which they run.
            parts: The tensors of each part.
            embedding_size: E, the side of the embedding grid.
            created: ISO 8601, UTC; now, unless the bundle must be reproducible.

        Raises:
            BundleError: A manifest that no reader would accept, such as two golden cases of one name.
            StorageError: The disk is full or the folder cannot be written; the old bundle stays.
        """
        self._claimed()
        draft = Manifest(
            schema=SCHEMA,
            toolkit_version=__version__,
            created=created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=model,
            profile=dict(profile),
            pipeline=tuple(pipeline),
            embedding_size=embedding_size,
            parts=tuple(parts),
            graphs=tuple(self._graphs),
            golden=tuple(self._golden),
            records=tuple(self._records),
            digest="",
        )
        return self._replace_manifest(draft)

    def _replace_manifest(self, draft: Manifest) -> Manifest:
        self._pending = encode(seal(draft))
        manifest = parse(self._pending)  # what no reader would accept is not committed
        write_atomic(self.path / MANIFEST_NAME, self._pending)
        self._added, self._pending = [], b""
        self._collect_garbage(manifest.files())
        return manifest

    def _add(self, entries: list[FileEntry], folder: str, name: str, data: bytes) -> FileEntry:
        file, sha256 = self._store(folder, data)
        entry = FileEntry(name, file, sha256, len(data))
        entries.append(entry)
        return entry

    def _store(self, folder: str, data: bytes) -> tuple[str, str]:
        sha256 = hashlib.sha256(data).hexdigest()
        self._write(file_name(folder, sha256), data)
        return file_name(folder, sha256), sha256

    def _write(self, file: str, data: bytes | memoryview) -> None:
        self._claimed()
        target = self.path / file
        with explained(self.path):
            if _holds(target, data):
                return
            target.parent.mkdir(exist_ok=True)
            if target.is_symlink():  # write_atomic would write to where it points
                target.unlink()
            if not target.exists():
                self._added.append(target)
        write_atomic(target, data)

    def _claimed(self) -> None:
        if self._lock is None:
            raise RuntimeError("a BundleWriter works inside its `with` statement only")

    def _roll_back(self) -> None:
        if self._added and not self._is_committed():
            for path in self._added:
                _remove(path)
        for folder in SUFFIXES:
            with suppress(OSError):  # it is not there, or not empty
                (self.path / folder).rmdir()

    def _is_committed(self) -> bool:
        """Whether an interrupted commit took place after all: only the disk knows."""
        try:
            return (self.path / MANIFEST_NAME).read_bytes() == self._pending
        except FileNotFoundError:
            return False
        except OSError:  # unknown: garbage does less harm than a bundle without its files
            return True

    def _collect_garbage(self, listed: set[str]) -> None:
        for folder in SUFFIXES:
            for path in _listing(self.path / folder):
                if is_ours(folder, path.name) and f"{folder}/{path.name}" not in listed:
                    _remove(path)
        for path in _listing(self.path):
            if is_temporary(path.name):
                _remove(path)

    def _remove_made(self) -> None:
        for folder in self._made:
            with suppress(OSError):  # not empty: the commit took place, or somebody else writes there
                folder.rmdir()


def _holds(path: Path, data: bytes | memoryview) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(data):
        return False
    with path.open("rb") as stream:
        return all(stream.read(CHUNK) == data[at : at + CHUNK] for at in range(0, len(data), CHUNK))


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _remove(path: Path) -> None:
    with suppress(OSError):  # a file that stays is garbage, which the next commit removes
        path.unlink()
