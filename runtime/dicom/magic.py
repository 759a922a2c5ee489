"""Tells DICOM by its content: the four letters after the preamble. Needs no DICOM package."""

from pathlib import Path

from ..errors import StorageError
from ..files import is_folder, list_folder, open_file

_PREAMBLE = 128


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM, or a folder holds at least one DICOM file.

    Returns:
        False too for what cannot be read: whoever reads it then says why.
    """
    try:
        if not is_folder(path):
            return begins_as_dicom(path)
        return any(begins_as_dicom(entry) for entry in list_folder(path) if entry.is_file())
    except StorageError:
        return False


def begins_as_dicom(path: Path) -> bool:
    """Tell whether a file carries DICOM's magic.

    Raises:
        StorageError: If the file cannot be opened.
    """
    with open_file(path) as stream:
        return stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
