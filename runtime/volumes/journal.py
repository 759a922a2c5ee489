"""A journal beside the output: after each slice its labels and the objects' state, so that a killed run goes on.

    first line    what it is, and the SHA-256 of everything that the labels depend on
    a record      length, SHA-256, and the content: the step, the objects' numbers, the packed labels of the slice

A record that was cut off or altered ends what is taken up; everything behind it is computed again. A journal of another
input, model or prompt is begun anew. Two processes never write one.
"""

import fcntl
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from medsam_edge import __version__

from ..errors import StorageError, UsageError
from ..files import explained
from ..schema import to_plain
from ..types import AnyArray
from .tracks import Tracks

MAGIC = "medsam-edge/volume-journal/1"
_WRITABLE = "a journal that can be written"
_HEAD = struct.Struct("<Q32s")
_STEP = struct.Struct("<Q")


class Journal:
    """The journal of one volume. Use it as a context manager.

    Args:
        path: The file; made where it is not there.
        key: Everything that the labels depend on, as JSON can hold it.

    Raises:
        StorageError: It cannot be written, or another process writes it.
        UsageError: The path holds something else.
    """

    def __init__(self, path: Path, key: Mapping[str, object]) -> None:
        self.path = path
        text = json.dumps(to_plain({"version": __version__, **key}), sort_keys=True, allow_nan=False)
        self._first = f"{MAGIC} {hashlib.sha256(text.encode()).hexdigest()}\n".encode()
        with explained(_WRITABLE, path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._stream: BinaryIO = os.fdopen(descriptor, "r+b")
        try:
            self._claim()
        except BaseException:
            self._stream.close()
            raise

    def replay(self, tracks: Tracks, view: AnyArray) -> int:
        """Take up what an earlier run left.

        Args:
            tracks: Set to the state after the last whole record.
            view: Labels `(slices, rows, columns)`; its slices are filled.

        Returns:
            The steps that are done, 0 in a new journal. The journal goes on behind the last whole record.
        """
        done = 0
        with explained(_WRITABLE, self.path):
            self._stream.seek(0)
            if self._stream.read(len(self._first)) != self._first:
                self._stream.seek(0)
                self._stream.truncate()
                self._stream.write(self._first)
                self._stream.flush()
                return 0
            while True:
                place = self._stream.tell()
                content = self._record(view[0].nbytes + 2**20 + sum(array.nbytes for array in tracks.arrays))
                if content is None or not _restore(content, tracks, view):
                    break
                done = int(_STEP.unpack_from(content)[0])
            self._stream.seek(place)
            self._stream.truncate()
        return done

    def note(self, done: int, index: int, tracks: Tracks, plane: AnyArray) -> None:
        """Write down that so many steps are done, the last of them on slice `index`.

        Raises:
            StorageError: The disk is full.
        """
        parts = (_STEP.pack(done), _STEP.pack(index), *(array.tobytes() for array in tracks.arrays))
        content = b"".join((*parts, zlib.compress(np.ascontiguousarray(plane).data, 1)))
        with explained(_WRITABLE, self.path):
            self._stream.write(_HEAD.pack(len(content), hashlib.sha256(content).digest()) + content)
            self._stream.flush()

    def remove(self) -> None:
        """Delete the file: its work is done, and written elsewhere."""
        with explained(_WRITABLE, self.path):
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()  # which also gives the claim back

    def _claim(self) -> None:
        with explained(_WRITABLE, self.path):
            try:
                fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found = f"another process that segments into {self.path.parent}"
                raise StorageError("to be alone with a volume", found, "wait for it, or choose another --out") from None
            head = self._stream.read(len(MAGIC))
        if head and not MAGIC.encode().startswith(head):
            remedy = "move that file away, or choose another --out"
            raise UsageError("a journal of `segment`, or nothing", f"another file at {self.path}", remedy)

    def _record(self, most: int) -> bytes | None:
        """The next record; None where none is whole."""
        head = self._stream.read(_HEAD.size)
        if len(head) != _HEAD.size:
            return None
        length, digest = _HEAD.unpack(head)
        content = self._stream.read(length) if length <= most else b""
        return content if hashlib.sha256(content).digest() == digest else None


def _restore(content: bytes, tracks: Tracks, view: AnyArray) -> bool:
    """Put a record's numbers and labels in place; False where it is not of this volume."""
    place = 2 * _STEP.size
    size = place + sum(array.nbytes for array in tracks.arrays)
    index = int(_STEP.unpack_from(content, _STEP.size)[0]) if len(content) > size else len(view)
    if index >= len(view):
        return False
    plane = _plane(content[size:], view[index].shape, view.dtype)
    if plane is None:
        return False
    for array in tracks.arrays:
        array[...] = np.frombuffer(content, array.dtype, array.size, place).reshape(array.shape)
        place += array.nbytes
    view[index] = plane
    return True


def _plane(packed: bytes, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> AnyArray | None:
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        data = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error:
        return None
    return np.frombuffer(data, dtype).reshape(shape) if len(data) == size else None
