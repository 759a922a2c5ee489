"""Reads the bytes of a volume, plain or gzip, and never more of them than its header promises.

A header is judged before memory is taken. A compressed file that promises more than its bytes can hold is refused at
once: deflate packs at most 1,032 bytes into one. Knows nothing of what the bytes mean.
"""

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import UsageError, VolumeError
from ..files import explained, open_file
from ..types import AnyArray

GZIP_MAGIC = b"\x1f\x8b"
MAX_RATIO = 1032  # of deflate
MAX_REST = 2**20  # bytes behind the voxels that are read to reach gzip's checksum
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
_AGAIN = "copy or export the volume again"


@dataclass(frozen=True)
class Source:
    """An open volume file.

    Attributes:
        stream: Positioned where the next byte is to be read; decompresses if the file is compressed.
        most: Bytes that the file can hold at most, once decompressed.
    """

    stream: BinaryIO
    most: int

    def read(self, count: int, what: str) -> bytes:
        """Read exactly so many bytes.

        Raises:
            VolumeError: There are fewer.
        """
        data = self.stream.read(count)
        if len(data) != count:
            raise VolumeError(f"{count:,} bytes of {what}", f"a file that ends after {len(data):,}", _AGAIN)
        return data

    def skip(self, count: int, what: str) -> None:
        """Read past so many bytes, a mebibyte at a time."""
        while count > 0:
            count -= len(self.read(min(count, MAX_REST), what))

    def voxels(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> AnyArray:
        """Read an array of a shape that was judged already, and turn it into the machine's byte order.

        Raises:
            VolumeError: The file holds less, or much more.
        """
        needed = math.prod(shape) * dtype.itemsize
        if needed > self.most:
            found = f"a file that holds at most {self.most:,}"
            raise VolumeError(f"{needed:,} bytes of voxels, as the header promises", found, _AGAIN)
        array = np.empty(shape, dtype)
        rest = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        while rest:
            count = cast("int", self.stream.readinto(rest))  # type: ignore[attr-defined]
            if not count:
                raise VolumeError(f"{needed:,} bytes of voxels", f"{len(rest):,} bytes less", _AGAIN)
            rest = rest[count:]
        if len(self.stream.read(MAX_REST + 1)) > MAX_REST:  # which also makes gzip compare its checksum
            raise VolumeError(f"{needed:,} bytes of voxels, as the header promises", "many more", _AGAIN)
        if not dtype.isnative:
            array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
        return array


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a volume file, compressed or not; what is wrong with its bytes becomes an error of ours.

    Raises:
        VolumeError: Damaged or truncated; it names the file.
        StorageError: The file is missing or may not be read.
    """
    with explained("a file that can be read", path), open_file(path) as stream, explaining(path):
        size = os.fstat(stream.fileno()).st_size
        compressed = stream.read(2) == GZIP_MAGIC
        stream.seek(0)
        if compressed:
            with gzip.GzipFile(fileobj=stream) as inner:
                yield Source(cast(BinaryIO, inner), size * MAX_RATIO)
        else:
            yield Source(stream, size)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Name the file in an error about what it holds."""
    try:
        yield
    except _DAMAGE as error:
        raise VolumeError("an intact volume", f"damaged data ({error}) in {path.name}", _AGAIN) from error
    except UsageError as error:
        raise VolumeError(error.expected, f"{error.found} in {path.name}", error.remedy) from error


def packed(head: bytes, array: AnyArray) -> bytes:
    """Return gzip of a header and an array in C order: one member, and the same bytes for the same content."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(head) + packer.compress(np.ascontiguousarray(array).data) + packer.flush()
