"""Reads NumPy's .npy and .npz files from people one does not trust.

A header is judged before any data is read, no more bytes are unpacked than it promises, and nothing is
unpickled. Knows nothing about what an array means: the caller's `accept` says which shapes and types
it wants.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, BinaryIO

import numpy as np

from .errors import UsageError
from .types import AnyArray

_INTACT = "copy or create the file again"
_DATA_ERRORS = (ValueError, OverflowError, EOFError, OSError, zlib.error, zipfile.BadZipFile)
# NumPy's parser lets Python's own errors through and warns about headers that Python 2 wrote; literal_eval on
# a hostile header overflows the stack with one of the last two.
_HEADER_ERRORS = (
    *_DATA_ERRORS,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    Warning,
    RecursionError,
    MemoryError,
)
# RuntimeError: an encrypted member; NotImplementedError: a feature of zip that Python lacks
_ZIP_ERRORS = (*_DATA_ERRORS, RuntimeError, NotImplementedError, KeyError)


@dataclass(frozen=True)
class ArrayHeader:
    """What a .npy header promises."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Bytes of data that must follow the header."""
        return math.prod(self.shape) * self.dtype.itemsize


Accept = Callable[[ArrayHeader], None]


def read_npy(stream: IO[bytes], accept: Accept, name: str = "the array") -> AnyArray:
    """Read one .npy stream.

    Args:
        stream: Positioned at the magic bytes.
        accept: Raises for a header whose array must not be read; so it also bounds the memory.
        name: The array in messages.

    Returns:
        A read-only array.

    Raises:
        UsageError: A damaged, pickled, truncated or overlong array.
    """
    header = _read_header(stream, name)
    accept(header)
    try:
        data = stream.read(header.nbytes + 1)
    except _DATA_ERRORS as error:
        raise UsageError(f"{name} with intact data", f"damaged data ({error})", _INTACT) from error
    if len(data) != header.nbytes:
        found = f"only {len(data):,}" if len(data) < header.nbytes else "more"
        raise UsageError(f"{header.nbytes:,} bytes of {name} as its header promises", found, _INTACT)
    order = "F" if header.fortran_order else "C"
    return np.frombuffer(data, header.dtype).reshape(header.shape, order=order)  # type: ignore[call-overload,no-any-return]


def _read_header(stream: IO[bytes], name: str) -> ArrayHeader:
    """Parse and sanity-check a .npy header; versions above 2 exist only for structured arrays."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        header = ArrayHeader(*readers[version](stream))
    except KeyError:
        remedy = "save it with numpy.save as a plain array of numbers"
        raise UsageError(f"{name} in .npy format 1 or 2", "another version of the format", remedy) from None
    except _HEADER_ERRORS as error:
        found = f"a damaged header ({type(error).__name__})"
        raise UsageError(f"{name} in NumPy's .npy format", found, _INTACT) from error
    if any(size < 0 for size in header.shape):
        raise UsageError(f"{name} with sizes of 0 or more", f"a damaged header with shape {header.shape}", _INTACT)
    if header.dtype.hasobject:
        remedy = "save it again with a numeric dtype: unpickling would run whatever code the file holds"
        raise UsageError(f"{name} as plain numbers", "pickled Python objects", remedy)
    return header


class ArrayArchive:
    """The arrays of one .npz file, read one at a time.

    Args:
        stream: The open file; it stays the caller's to close.

    Raises:
        UsageError: Not a readable zip archive.
    """

    def __init__(self, stream: BinaryIO) -> None:
        try:
            self._archive = zipfile.ZipFile(stream)
        except _ZIP_ERRORS as error:
            raise UsageError("an intact .npz archive", f"a damaged one ({error})", _INTACT) from error

    @property
    def names(self) -> list[str]:
        """The arrays inside, without `.npy`."""
        return [name.removesuffix(".npy") for name in self._archive.namelist() if name.endswith(".npy")]

    def read(self, name: str, accept: Accept) -> AnyArray:
        """Read one array.

        Raises:
            UsageError: It is absent, damaged, pickled, encrypted, or not what its header promises.
        """
        if name not in self.names:
            held = ", ".join(f"`{name}`" for name in self.names[:9]) or "no array"
            raise UsageError(f"an array `{name}`", f"{held}", f"save it with numpy.savez({name}=...)")
        try:
            info = self._archive.getinfo(f"{name}.npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NotImplementedError(f"compression method {info.compress_type}")
            member = self._archive.open(info)
        except _ZIP_ERRORS as error:
            raise UsageError(f"a readable array `{name}`", f"{error}", _INTACT) from error
        with member:
            return read_npy(member, accept, f"`{name}`")
