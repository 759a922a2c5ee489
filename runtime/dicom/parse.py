"""Opens DICOM files from people one does not trust: one family of errors out, no pixel and no patient in any message.

pydicom raises a dozen kinds of exception on damaged files, and warns with the offending value in the text, which may be
a name. Both stop here. A deflated file is inflated up to a limit before pydicom sees it. Knows nothing of pixels.
"""

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ..errors import DicomError, MedSAMEdgeError, StorageError
from ..files import explained, open_file
from .magic import begins_as_dicom

MAX_INFLATED_BYTES = 2**28
MAX_FILE_BYTES = 2**33
_CHUNK = 2**20
_INTACT = "export or copy it again"
# warnings.catch_warnings changes the whole process: two threads would leave it silenced.
_LOCK = threading.RLock()
_LOGGERS = ("pydicom", "highdicom", "pylibjpeg", "openjpeg", "libjpeg", "jpeg_ls")
for _name in _LOGGERS:  # else Python prints what finds no handler
    logging.getLogger(_name).addHandler(logging.NullHandler())


@contextmanager
def guarded(doing: str, path: Path) -> Iterator[None]:
    """Let DICOM packages work, and turn whatever they raise into one typed error without their words.

    Raises:
        DicomError: Instead of any exception that is not ours.
    """
    try:
        with _LOCK, _quietly():
            yield
    except (MedSAMEdgeError, MemoryError):
        raise
    except Exception as error:
        # Not chained: their messages quote header values.
        found = f"{type(error).__name__} while {doing} {path}"
        raise DicomError("an intact DICOM file", found, _INTACT) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep packages from warning and logging: both may quote a header."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.propagate for logger in loggers]
    try:
        for logger in loggers:
            logger.propagate = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, propagated in zip(loggers, before, strict=True):
            logger.propagate = propagated


def open_dicom(path: Path) -> BinaryIO:
    """Open a DICOM file positioned at its preamble; a deflated one comes inflated, in memory.

    Raises:
        DicomError: It is not DICOM, is too large, or inflates beyond `MAX_INFLATED_BYTES`.
        StorageError: It cannot be read.
    """
    _check_file(path)
    with guarded("reading the file meta information of", path):
        meta = read_file_meta_info(path)
        syntax = str(meta.get("TransferSyntaxUID", ""))
    if not syntax:
        raise DicomError("a transfer syntax in the file meta information", f"none in {path}", _INTACT)
    return _inflated(path, meta) if syntax == DeflatedExplicitVRLittleEndian else open_file(path)


def read_header(path: Path) -> tuple[Dataset, int]:
    """Read everything before the pixel data.

    Returns:
        The data set, and where in `open_dicom`'s stream the pixel data element begins.

    Raises:
        DicomError, StorageError: As `open_dicom`, or a header that cannot be parsed.
    """
    with open_dicom(path) as stream, guarded("reading the header of", path):
        dataset = dcmread(stream, stop_before_pixels=True)
        return dataset, stream.tell()


def uid(text: str) -> UID:
    """Make a UID of any text; pydicom would warn of a malformed one, and quote it."""
    return UID(text, validation_mode=IGNORE)


def _check_file(path: Path) -> None:
    if not begins_as_dicom(path):
        found = f"no DICM after the preamble of {path}"
        raise DicomError("a DICOM file", found, "name a DICOM file, or a folder of them")
    with explained("a file that can be read", path):
        size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DicomError(f"a file of at most {MAX_FILE_BYTES:,} bytes", f"{size:,} in {path}", "export fewer frames")


def _inflated(path: Path, meta: FileMetaDataset) -> BinaryIO:
    """The same file in plain Explicit VR Little Endian."""
    with guarded("reading the file meta information of", path):
        start = _data_set_start(path)
        plain = FileMetaDataset(meta)
        plain.TransferSyntaxUID = ExplicitVRLittleEndian
        head = DicomBytesIO()
        write_file_meta_info(head, plain, enforce_standard=False)
        stream = io.BytesIO()
        stream.write(bytes(128) + b"DICM" + head.getvalue())
    with open_file(path) as source:
        source.seek(start)
        _inflate(source, stream, path)
    stream.seek(0)
    return stream


def _data_set_start(path: Path) -> int:
    """Where the data set begins, by the group length that the standard requires first."""
    with open_file(path) as stream:
        head = stream.read(144)
        if head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
            raise DicomError(
                "a file meta information with its group length first", f"another element in {path}", _INTACT
            )
        return 144 + int.from_bytes(head[140:144], "little")


def _inflate(source: BinaryIO, sink: BinaryIO, path: Path) -> None:
    machine, room = zlib.decompressobj(-zlib.MAX_WBITS), MAX_INFLATED_BYTES
    try:
        while not machine.eof:
            chunk = machine.unconsumed_tail or source.read(_CHUNK)
            made = machine.decompress(chunk, min(_CHUNK, room + 1))
            if not chunk and not made:
                raise DicomError("an intact deflated data set", f"a truncated one in {path}", _INTACT)
            room -= len(made)
            if room < 0:
                found = f"{path}, which expands beyond that"
                raise DicomError(f"at most {MAX_INFLATED_BYTES:,} bytes when inflated", found, "export it uncompressed")
            sink.write(made)
    except zlib.error:
        raise DicomError("an intact deflated data set", f"damaged data in {path}", _INTACT) from None
    except OSError as error:
        raise StorageError("a file that can be read", f"“{error.strerror}” at {path}", "check the disk") from error
