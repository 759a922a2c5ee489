"""The state folder of one device: compiled models that make the next start faster (docs/state.md).

    STATE/
      state.json       what is here, with a SHA-256 of everything
      <sha256>.blob    a compiled model

A compiled model is code, so a blob is handed to a library only after its bytes, in the very memory that the library
gets, were hashed against this folder's manifest; and nobody else may write here. All of it can be built again, so
whatever is damaged or out of date is a reason to do so and no error. It knows nothing of what compiles.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .bundle import open_regular
from .claim import LOCK_NAME, is_temporary, lock
from .errors import BundleError, MedSAMEdgeError, StorageError, UsageError
from .files import explained, read_bytes, write_atomic
from .manifest import MAX_BYTES
from .state_manifest import (
    BLOB_SUFFIX,
    EMPTY,
    FAMILY,
    BlobEntry,
    BlobKey,
    StateManifest,
    blob_name,
    encode_state,
    parse_state,
)

STATE_NAME = "state.json"
CHUNK = 8 << 20
_BLOB = re.compile(rf"[0-9a-f]{{64}}{re.escape(BLOB_SUFFIX)}")


@dataclass(frozen=True)
class CacheStatus:
    """How a part was opened.

    Attributes:
        outcome: `off` (no state folder, or a backend that keeps nothing), `reused`, `built` or `rebuilt`.
        reason: Why it was rebuilt, or why it is off.
        unsaved: Why what was built could not be kept for the next start; empty where it was.
    """

    outcome: str
    reason: str = ""
    unsaved: str = ""

    def __str__(self) -> str:
        """One phrase for people: "rebuilt because version was 2026.3, is 2026.4"."""
        why = f" because {self.reason}" if self.reason else ""
        return f"{self.outcome}{why}" + (f", not kept for the next start: {self.unsaved}" if self.unsaved else "")


class StateFolder:
    """A folder for compiled models. Nothing is made or written before the first `store`.

    Raises:
        StorageError: It is a link, somebody else's, or others may write there: what lies in it would be run.
        UsageError: It is a file, or a folder with something else in it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        with explained("a state folder that can be read", self.root), suppress(FileNotFoundError):
            _check_owner(self.root, os.lstat(self.root))
            _check_content(self.root)

    def read(self) -> tuple[StateManifest, str]:
        """Return what the manifest lists, and what was wrong where it cannot be believed and counts as empty."""
        path = self.root / STATE_NAME
        if not os.path.lexists(path):
            return EMPTY, ""
        try:
            if path.is_symlink():
                raise BundleError(f"a plain file {STATE_NAME}", "a symbolic link", "remove it")
            return parse_state(read_bytes(path, MAX_BYTES)), ""
        except (MedSAMEdgeError, RecursionError) as error:
            return EMPTY, f"{STATE_NAME} cannot be believed ({brief(error)})"

    def find(self, key: BlobKey, origin: str) -> tuple[BlobEntry | None, str]:
        """Look for a blob.

        Returns:
            The entry, or None and why an older one does not serve; no reason where there never was one.
        """
        manifest, damage = self.read()
        for entry in manifest.blobs:
            if entry.key == key:
                return entry, ""
        wanted = BlobEntry(key, origin, "", "", 0)
        stale = [entry.key.differences(key) for entry in manifest.blobs if entry.replaced_by(wanted)]
        return None, damage or (stale[-1] if stale else "")

    def fill(self, entry: BlobEntry, memory: memoryview) -> None:
        """Read a blob into memory of its size, hashing what lies there afterwards.

        Raises:
            BundleError: The file is missing, of another size, altered, or no plain file.
            StorageError: It cannot be read.
        """
        from concurrent.futures import ThreadPoolExecutor  # costs a start without a state folder some milliseconds

        digest = hashlib.sha256()
        # One thread reads ahead of the other, which hashes; both give up the interpreter's lock while they do.
        with open_regular(self.root, entry.file) as descriptor, ThreadPoolExecutor(1) as hasher:
            self._check_size(entry, os.fstat(descriptor).st_size)
            done = 0
            while done < len(memory) and (count := os.readv(descriptor, [memory[done : done + CHUNK]])):
                hasher.submit(digest.update, memory[done : done + count])
                done += count
        if digest.hexdigest() != entry.sha256:
            raise BundleError(f"{entry.file} as it was stored", "an altered file", "let it be built again")

    def check_size(self, entry: BlobEntry) -> None:
        """Look at a blob before memory is taken for it.

        Raises:
            BundleError: The file is missing, of another size, or no plain file.
        """
        with open_regular(self.root, entry.file) as descriptor:
            self._check_size(entry, os.fstat(descriptor).st_size)

    def store(self, key: BlobKey, origin: str, data: memoryview) -> BlobEntry:
        """Keep a compiled model, and drop what it replaces.

        Raises:
            StorageError: The disk is full, the folder cannot be written, or another process is writing it now.
            UsageError: Somebody else's files came there meanwhile.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        entry = BlobEntry(key, origin, blob_name(sha256), sha256, len(data))
        with self._locked():
            old, damage = self.read()
            if damage or old.without(entry) != old:  # first, because a small disk has no room for the old and the new
                self._commit(old.without(entry))
            write_atomic(self.root / entry.file, data)
            self._commit(old.plus(entry))
        return entry

    def _commit(self, manifest: StateManifest) -> None:
        path = self.root / STATE_NAME
        if path.is_symlink():  # write_atomic would write to where it points
            path.unlink()
        write_atomic(path, encode_state(manifest))
        listed = {entry.file for entry in manifest.blobs}
        for path in self.root.iterdir():
            if is_temporary(path.name) or (_is_blob(path.name) and path.name not in listed):
                _remove(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with explained("a state folder that can be written", self.root):
            if not os.path.lexists(self.root):
                self.root.parent.mkdir(parents=True, exist_ok=True)
                self.root.mkdir(mode=0o700, exist_ok=True)
            _check_owner(self.root, os.lstat(self.root))
            _check_content(self.root)
            descriptor = lock(self.root)
            try:
                yield
            finally:
                _remove(self.root / LOCK_NAME)
                os.close(descriptor)

    @staticmethod
    def _check_size(entry: BlobEntry, size: int) -> None:
        if size != entry.bytes:
            raise BundleError(f"{entry.bytes} bytes in {entry.file}", f"{size} bytes", "let it be built again")


def origin_of(graphs: Path) -> str:
    """Name the folder of a bundle's graphs, as a blob's `origin` does.

    A name that is no text is escaped: it must not make the manifest unwritable.
    """
    return str(graphs.resolve()).encode("utf-8", "backslashreplace").decode()


def brief(error: Exception) -> str:
    """Say what an error found, without its advice: it becomes a reason, not an error."""
    if isinstance(error, MedSAMEdgeError):
        return f"expected {error.expected}; found {error.found}"
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:300]


def _check_owner(root: Path, status: os.stat_result) -> None:
    expected, mend = f"a state folder {root} of your own", "choose another path, or remove it and let it be made"
    if stat.S_ISLNK(status.st_mode):
        raise StorageError(expected, "a symbolic link", mend)
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(expected, "a file", mend)
    if status.st_uid != os.geteuid():
        raise StorageError(expected, f"a folder of the user {status.st_uid}", mend)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = f"a folder that others may write to, mode {stat.S_IMODE(status.st_mode):o}"
        raise StorageError(expected, mode, "take the permission away: chmod go-w")


def _check_content(root: Path) -> None:
    """Refuse a folder with other people's files: a bundle, or somebody's home."""
    names = sorted(path.name for path in root.iterdir())
    strangers = [name for name in names if not _is_ours(name)]
    if strangers and not _is_state(root / STATE_NAME):
        mend = "name a folder of its own for the state, which need not exist"
        raise UsageError("an empty folder or a state folder", f"{root} with {', '.join(strangers[:5])}", mend)


def _is_state(path: Path) -> bool:
    """Whether this is our manifest, damaged or not: other programs call their files state.json too."""
    if path.is_symlink() or not path.is_file():
        return path.is_symlink()
    with path.open("rb") as file:
        return FAMILY.encode() in file.read(4096)


def _is_ours(name: str) -> bool:
    return name in (STATE_NAME, LOCK_NAME) or is_temporary(name) or _is_blob(name)


def _is_blob(name: str) -> bool:
    return _BLOB.fullmatch(name) is not None


def _remove(path: Path) -> None:
    with suppress(OSError):  # what stays is garbage, which the next writer removes
        path.unlink()
