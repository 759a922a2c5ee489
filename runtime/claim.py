"""Decides who may write into a bundle's folder: nobody over other people's files, and one writer at a time.

It knows the names that a bundle consists of, and so what a writer that was killed can have left behind, but
neither what the files say nor how they are written: that is `store`.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import StorageError, UsageError
from .manifest import MANIFEST_NAME, SCHEMA_FAMILY, SUFFIXES, WEIGHTS_SUFFIX

LOCK_NAME = ".lock"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # as write_atomic names them
_HASHED = re.compile(r"[0-9a-f]{64}(\.[a-z]+)")


def check_destination(path: Path) -> None:
    """Refuse to write where somebody else's files lie.

    Raises:
        UsageError: The path is a file, or a folder that holds something else than a bundle.
    """
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
    """Whether only a bundle's writer gives such a name to a file in that folder."""
    hashed = _HASHED.fullmatch(name)
    endings = (SUFFIXES[folder], WEIGHTS_SUFFIX) if folder == "graphs" else (SUFFIXES[folder],)
    return is_temporary(name) or (hashed is not None and hashed[1] in endings)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says into a StorageError."""
    try:
        yield
    except OSError as error:
        mend = "check its permissions and the space on its disk"
        raise StorageError(f"a folder {path} that can be written", str(error), mend) from error


def lock(folder: Path) -> int:
    """Take the folder's lock and return its descriptor; the kernel drops the lock if this process dies.

    Raises:
        StorageError: Another process holds it.
    """
    while True:
        with ExitStack() as stack:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(folder / LOCK_NAME, flags, 0o600)
            stack.callback(os.close, descriptor)
            if _take(descriptor, folder):
                stack.pop_all()
                return descriptor


def _take(descriptor: int, folder: Path) -> bool:
    """Lock the file; False where its holder has removed it since it was opened, so that it guards nothing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK_NAME))
    except FileNotFoundError:
        return False
    except BlockingIOError as error:
        found, mend = (
            "another process that is writing it now",
            "wait until it is done, or choose another path",
        )
        raise StorageError(f"to be alone in writing {folder}", found, mend) from error


def _no_place(found: str) -> UsageError:
    return UsageError("an empty folder or an existing bundle to write to", found, "choose another path")
