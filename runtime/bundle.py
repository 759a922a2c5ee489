"""Reads a bundle, and believes none of it before every byte was hashed.

A bundle is copied over networks and USB sticks and lies on devices for years, so a missing, shortened or
altered file, or a link where a file belongs, is an error before anything reaches a model's parser. This
module reads only: `store` writes bundles, `manifest` says what they list, and backends load the graphs.
"""

import hashlib
import json
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from .errors import BundleError, StorageError
from .external_data import check_external_data
from .files import explained
from .golden import Golden, decode_golden
from .manifest import MANIFEST_NAME, MAX_BYTES, FileEntry, GraphEntry, Manifest, parse

CHUNK = 1 << 20
_MEND = "export again or copy the bundle again"


class Listed(Protocol):
    """A file as a manifest lists it."""

    @property
    def file(self) -> str:
        """Its name below the manifest's folder."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of its content."""
        ...

    @property
    def bytes(self) -> int:
        """Its size."""
        ...


@dataclass(frozen=True)
class Bundle:
    """A bundle.

    Attributes:
        root: The folder.
        manifest: What it holds.
        hashed: Whether every listed file was hashed when it was opened.
    """

    root: Path
    manifest: Manifest
    hashed: bool = True

    def entry(self, part: str, precision: str, target: str | None = None) -> GraphEntry:
        """The first listed graph of that part and precision, made for `target` if one is named, or for any.

        Raises:
            BundleError: There is none; the message lists what there is.
        """
        for entry in self.manifest.graphs:
            fits = target is None or not entry.targets or target in entry.targets
            if fits and (entry.part, entry.precision) == (part, precision):
                return entry
        wanted = f"a graph of {part} in {precision}" + (f" for {target}" if target else "")
        there = ", ".join(_describe(entry) for entry in self.manifest.graphs) or "no graph at all"
        raise BundleError(wanted, there, "choose one of these, or export the bundle again")

    def golden_cases(self) -> tuple[Golden, ...]:
        """Read every golden case, hashing it once more.

        Raises:
            BundleError: A file changed since the bundle was opened, or is no golden case.
        """
        return tuple(self._golden(entry) for entry in self.manifest.golden)

    def record(self, kind: str) -> dict[str, object]:
        """Read the record of that kind, hashing it once more.

        Raises:
            BundleError: There is none (the message lists what there is), or it is not a JSON object.
        """
        for entry in self.manifest.records:
            if entry.name == kind:
                return _record(self._read(entry), entry)
        there = ", ".join(entry.name for entry in self.manifest.records) or "no record at all"
        raise BundleError(f"a record of {kind}", there, "read one that is there, or export the bundle again")

    def _golden(self, entry: FileEntry) -> Golden:
        golden = decode_golden(self._read(entry))
        if golden.id != entry.name:
            raise BundleError(f"golden case {entry.name!r} in {entry.file}", repr(golden.id), _MEND)
        return golden

    def _read(self, entry: FileEntry) -> bytes:
        with open_regular(self.root, entry.file) as descriptor:
            data = b"".join(_chunks(descriptor, entry.bytes))
        _compare(entry, len(data), hashlib.sha256(data).hexdigest())
        return data


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle and hash every file that it lists.

    Raises:
        BundleError: No bundle, or one with a missing, shortened, altered or linked file.
        StorageError: A file that cannot be read.
    """
    bundle = open_unhashed(path)
    for graph in bundle.manifest.graphs:
        verify_graph(bundle.root, graph)
    for entry in (*bundle.manifest.golden, *bundle.manifest.records):
        verify_file(bundle.root, entry)
    return replace(bundle, hashed=True)


def open_unhashed(path: str | Path) -> Bundle:
    """Read the manifest alone, for one who calls `verify_graph` before each graph that is used: `load` with a state
    folder, where a compiled model spares reading hundreds of megabytes of graph.

    Raises:
        BundleError: No bundle, or an altered manifest.
        StorageError: A manifest that cannot be read.
    """
    root = Path(path)
    _check_folder(root)
    with open_regular(root, MANIFEST_NAME) as descriptor:
        manifest = parse(b"".join(_chunks(descriptor, MAX_BYTES)))
    for folder, entries in manifest.entries().items():
        if entries:
            _check_subfolder(root, folder)
    return Bundle(root, manifest, hashed=False)


def _check_folder(root: Path) -> None:
    with explained("a bundle that can be read", root):
        _check_is_bundle(root)


def _check_is_bundle(root: Path) -> None:
    if (root / MANIFEST_NAME).is_symlink() or (root / MANIFEST_NAME).exists():
        return
    mend = "name the folder that `medsam-edge export` wrote"
    if root.suffix == ".onnx" and root.is_file():
        mend = "an ONNX graph alone has no profile; export its checkpoint with `medsam-edge export`"
    inside = sorted(path.parent.name for path in root.glob(f"*/{MANIFEST_NAME}")) if root.is_dir() else []
    if inside:
        mend = f"name the bundle inside: {root / inside[0]}"
    if root.is_dir():
        names = sorted(entry.name for entry in root.iterdir())[:5]
        found = f"the folder {root} with {', '.join(names)}" if names else f"the empty folder {root}"
    else:
        found = f"the file {root}" if root.exists() else f"nothing at {root}"
    raise BundleError(f"a bundle: a folder with a {MANIFEST_NAME}", found, mend)


def _check_subfolder(root: Path, folder: str) -> None:
    # O_NOFOLLOW guards only the last part of a path, so the folders are looked at too.
    if (root / folder).is_symlink():
        raise BundleError(f"a folder {folder} inside {root}", "a symbolic link", _MEND)


def verify_graph(root: Path, entry: GraphEntry) -> None:
    """Hash a graph and its weights, and make sure that it refers to no other file.

    Raises:
        BundleError: As `verify_file`, or it names a file that the manifest does not list for it.
        StorageError: A file that cannot be read.
    """
    files: tuple[Listed, ...] = (entry, *entry.weights)
    for file in files:
        verify_file(root, file)
    with open_regular(root, entry.file) as descriptor:
        # Mapped, because most of it is stepped over; nothing cannot be mapped.
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if entry.bytes else b""
        check_external_data(entry.file, data, entry.weights)


def verify_file(root: Path, entry: Listed) -> None:
    """Hash a listed file.

    Raises:
        BundleError: It is missing, shortened, altered, or a link.
        StorageError: It cannot be read.
    """
    hasher, size = hashlib.sha256(), 0
    with open_regular(root, entry.file) as descriptor:
        for chunk in _chunks(descriptor, entry.bytes):
            hasher.update(chunk)
            size += len(chunk)
        if size > entry.bytes:
            size = os.fstat(descriptor).st_size
    _compare(entry, size, hasher.hexdigest())


def _compare(entry: Listed, size: int, sha256: str) -> None:
    if size != entry.bytes:
        raise BundleError(f"{entry.bytes} bytes in {entry.file}", f"{size} bytes", _MEND)
    if sha256 != entry.sha256:
        raise BundleError(f"{entry.file} as exported", f"an altered file with the hash {sha256}", _MEND)


@contextmanager
def open_regular(root: Path, name: str) -> Iterator[int]:
    """Lend a descriptor of a plain file: never a link, nor a pipe or device that would block or never end.

    Raises:
        BundleError: It is missing, or no plain file.
        StorageError: It cannot be read.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(root, name, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"a plain file {name}", f"something else in {root}", _MEND)
        yield descriptor
    except OSError as error:
        raise _unreadable(root, name, error) from error
    finally:
        os.close(descriptor)


def _chunks(descriptor: int, expected: int) -> Iterator[bytes]:
    """The file's bytes, stopping just after it proves longer than expected."""
    left = expected + 1
    while left and (chunk := os.read(descriptor, min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _unreadable(root: Path, name: str, error: OSError) -> BundleError | StorageError:
    path = root / name
    if path.is_symlink():
        return BundleError(f"a plain file {name}", f"a symbolic link in {root}", _MEND)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return BundleError(f"the file {name}, which the manifest lists", f"none in {root}", _MEND)
    return StorageError(f"a readable file {path}", str(error), "check the permissions and the disk")


def _record(data: bytes, entry: FileEntry) -> dict[str, object]:
    try:
        record = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"a record in JSON in {entry.file}", str(error), _MEND) from error
    if not isinstance(record, dict):
        raise BundleError(f"a JSON object in {entry.file}", type(record).__name__, _MEND)
    return record


def _describe(entry: GraphEntry) -> str:
    return f"{entry.part} in {entry.precision} ({entry.form}; {', '.join(entry.targets) or 'any target'})"
