"""Decides who may write into a bundle's folder: nobody over other people's files, and one writer at a time.

It knows the names that a bundle consists of, and so what a writer that was killed can have left behind, but
neither what the files say nor how they are written: that is `store`.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StorageError, UsageError
from .manifest import MANIFEST_NAME, SCHEMA_FAMILY, SUFFIXES

LOCK_NAME = ".lock"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # as write_atomic names them
_HASHED = re.compile(r"[0-9a-f]{64}(\.[a-z]+)")


def check_destination(path: Path) -> None:
    """Refuse to write where somebody else's files lie."""
    if not path.exists():
        return
    if not path.is_dir():
        raise _no_place(f"the file {path}")
    for name in SUFFIXES:
        if (path / name).is_symlink():
            raise _no_place(f"a symbolic link {name} in {path}")
    manifest = path / MANIFEST_NAME
    if manifest.is_symlink() or manifest.exists():
        if manifest.is_symlink() or not manifest.is_file() or not _is_manifest(manifest):
            raise _no_place(f"a {MANIFEST_NAME} of something else in {path}")
        return
    if strangers := sorted(entry.name for entry in path.iterdir() if not _is_leftover(entry)):
        raise _no_place(f"{path} with {', '.join(strangers[:5])}")


def _is_manifest(path: Path) -> bool:
    """Whether it was a bundle's manifest once, even if it is damaged or newer than this toolkit."""
    with open(path, "rb") as stream:
        return SCHEMA_FAMILY.encode() in stream.read(4096)


def _is_leftover(path: Path) -> bool:
    """Whether a first export that was killed can have left it."""
    if path.name in SUFFIXES:
        return path.is_dir() and all(is_ours(path.name, inner.name) for inner in path.iterdir())
    return path.name == LOCK_NAME or is_temporary(path.name)


def is_temporary(name: str) -> bool:
    """Whether `write_atomic` was killed while it wrote this."""
    return _TEMPORARY.fullmatch(name) is not None


def is_ours(folder: str, name: str) -> bool:
    hashed = _HASHED.fullmatch(name)
    return is_temporary(name) or (hashed is not None and hashed[1] == SUFFIXES[folder])


@contextmanager
def explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mend = "check its permissions and the space on its disk"
        raise StorageError(f"a folder {path} that can be written", str(error), mend) from error


def lock(folder: Path) -> int:
    """Take the folder's lock, which the kernel drops if this process dies."""
    while True:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK_NAME)):
                return descriptor
        except FileNotFoundError:
            pass  # the holder removed the file between the opening and the locking: try the next one
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise _busy(folder) from error
            raise
        os.close(descriptor)


def _busy(folder: Path) -> StorageError:
    found = "another process that is writing it now"
    return StorageError(
        f"to be alone in writing {folder}", found, "wait until it is done, or choose another path"
    )


def _no_place(found: str) -> UsageError:
    return UsageError("an empty folder or an existing bundle to write to", found, "choose another path")
