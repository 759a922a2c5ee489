"""Reads and writes files so that nothing half-done survives and every failure names its remedy.

A file is written beside its destination and renamed over it: after a crash or on a full disk the old content
is still there, or nothing. Knows nothing about what the bytes mean.
"""

import errno
import mmap
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from .errors import StorageError

_WRITABLE = "a path that can be written"
_REMEDIES = {
    errno.ENOSPC: "free some space on that disk or write to another one",
    errno.EDQUOT: "free some of your quota on that disk or write to another one",
    errno.EFBIG: "raise the file size limit (`ulimit -f`) or write to a disk that takes larger files",
    errno.EACCES: "give yourself permission to it, or choose another path",
    errno.EPERM: "give yourself permission to it, or choose another path",
    errno.EROFS: "choose a path on a disk that is not mounted read-only",
    errno.ENOENT: "check the spelling, and create the missing folder if there is one",
    errno.ENOTDIR: "choose a path whose parents are all folders",
    errno.EEXIST: "choose another path, a file is in the way",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "break the circle of symbolic links",
    errno.EIO: "check the disk, it returned an input/output error",
    errno.EMFILE: "close other files or raise the limit (`ulimit -n`)",
}


@contextmanager
def explained(expected: str, path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the path and the disk, then try again")
        raise StorageError(expected, f"“{reason}” at {path}", remedy) from error
    except ValueError as error:  # a NUL character or an unencodable one inside the name
        raise StorageError(expected, f"{error} in the path {str(path)!r}", "choose a plain path") from error


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; the caller closes it.

    Raises:
        StorageError: `path` is missing, is no regular file (a folder, a pipe, a device), or may not be read.
    """
    expected = "a file that can be read"
    with explained(expected, path):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise StorageError(expected, f"{kind} at {path}", "name a regular file")
        return open(path, "rb")


def list_folder(folder: Path) -> list[Path]:
    """Name everything in a folder, sorted.

    Raises:
        StorageError: It is missing, no folder, or may not be read.
    """
    with explained("a folder that can be read", folder):
        return sorted(folder.iterdir())


def is_folder(path: Path) -> bool:
    """Tell a folder from anything else.

    Raises:
        StorageError: It is missing, or may not be looked at.
    """
    with explained("a path that can be read", path):
        return stat.S_ISDIR(os.stat(path).st_mode)


def same_file(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file or folder; False where either is missing."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        StorageError: A file is in the way, or nobody may write there.
    """
    with explained("a folder that can be written", folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Lend a folder in the system's temporary place; it is gone afterwards.

    Raises:
        StorageError: There is no such place, or it is full.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="medsam-edge-"))
        except OSError as error:
            raise _no_temporary("folder", error) from error
        yield Path(folder)


def temporary_file() -> BinaryIO:
    """Open a file without a name in the system's temporary place; it is gone when the caller closes it.

    Raises:
        StorageError: There is no such place, or it is full.
    """
    try:
        return cast(BinaryIO, tempfile.TemporaryFile())
    except OSError as error:
        raise _no_temporary("file", error) from error


def _no_temporary(kind: str, error: OSError) -> StorageError:
    # gettempdir tries to write, so a full disk looks like no folder at all.
    remedy = "free some space there, or set TMPDIR to a folder on a larger disk"
    return StorageError(f"a temporary {kind} that can be written", str(error), remedy)


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Raises:
        StorageError: As `open_file`, or the file is larger than `limit`.
    """
    with open_file(path) as stream, explained("a file that can be read", path):
        data = stream.read(limit + 1) if os.fstat(stream.fileno()).st_size <= limit else None
    if data is None or len(data) > limit:  # the second where the file grew, or lies about its size as /proc does
        raise StorageError(f"a file of at most {limit:,} bytes", f"a larger one at {path}", "check the path")
    return data


def mapped(path: Path) -> memoryview:
    """Lend a whole file of any size without reading it; nobody may change it meanwhile.

    Raises:
        StorageError: As `open_file`.
    """
    with open_file(path) as stream, explained("a file that can be read", path):
        return map_stream(stream)


def map_stream(stream: BinaryIO) -> memoryview:
    """Lend the content of an open file, which may be closed and even removed afterwards."""
    if not os.fstat(stream.fileno()).st_size:  # which cannot be mapped
        return memoryview(b"")
    return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, and make it survive a power cut.

    A symbolic link stays one: the file that it points to is replaced.

    Raises:
        StorageError: The path cannot be written or the disk is full. What was there before is still there.
    """
    write_together({path: data})


def write_together(files: Mapping[Path, bytes | memoryview]) -> None:
    """Write each file as `write_atomic` does, and replace none before the bytes of all are on the disk.

    Raises:
        StorageError: As `write_atomic`. A full disk leaves all of the old files.
    """
    with ExitStack() as stack:
        ready = {path: stack.enter_context(_beside(path, data)) for path, data in files.items()}
        for path, (temporary, target) in ready.items():
            with explained(_WRITABLE, path):
                os.replace(temporary, target)
    for folder in {target.parent for _, target in ready.values()}:
        _sync_folder(folder)


@contextmanager
def _beside(path: Path, data: bytes | memoryview) -> Iterator[tuple[Path, Path]]:
    """A temporary file with the data, and the file that it is to replace; removed if nobody renamed it."""
    with explained(_WRITABLE, path):
        target = _destination(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with explained(_WRITABLE, path):
            _write_synced(temporary, data)
        yield temporary, target
    finally:
        with suppress(OSError):  # after the rename there is nothing to remove
            os.unlink(temporary)


def _destination(path: Path) -> Path:
    """The regular file that `path` means, which need not exist."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "")
    if target.exists() and not target.is_file():  # root would rename over /dev/null and break the machine
        raise StorageError(_WRITABLE, f"a pipe, socket or device at {path}", "name a regular file")
    return target


def _write_synced(path: Path, data: bytes | memoryview) -> None:
    """Create `path` and return once its bytes are on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, on the file systems that offer it; the file itself is whole either way."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
