"""The names of modalities, so that "US" and "Ultrasound" are one stratum and a misspelt name is none of its own.

A name that nobody gave is `UNKNOWN`: allowed, and counted as one modality. Knows nothing of cases.
"""

from difflib import get_close_matches

from ..runtime.case_list import UNKNOWN_MODALITY
from ..runtime.errors import CaseError

UNKNOWN = UNKNOWN_MODALITY
# Each with the other words for it: those of the challenge's file names, DICOM's codes, and plain synonyms.
_WORDS: dict[str, tuple[str, ...]] = {
    "CT": (),
    "MR": ("MRI",),
    "PET": ("PT",),
    "X-ray": ("CR", "DX"),
    "Ultrasound": ("US",),
    "Mammography": ("MG", "Mammo"),
    "Endoscopy": ("ES",),
    "Dermoscopy": ("Dermatoscopy",),
    "Fundus": ("OP",),
    "OCT": ("OPT",),
    "OCTA": (),
    "Microscopy": ("GM",),
    "Pathology": ("SM", "Histopathology"),
}
MODALITIES: tuple[str, ...] = tuple(_WORDS)


def _plain(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


_NAMES = {_plain(word): name for name, words in {**_WORDS, UNKNOWN: ()}.items() for word in (name, *words)}


def known_modality(name: str, where: str) -> str:
    """Return the project's own name of a modality.

    Args:
        name: Any of its words; letter case, spaces and hyphens do not matter.
        where: What the name belongs to, for the message.

    Returns:
        One of `MODALITIES`, or `UNKNOWN` for an empty name and for "unknown" itself.

    Raises:
        CaseError: Nobody knows the name. It lists those that are known, and says which one is closest.
    """
    if not name.strip():
        return UNKNOWN
    if (plain := _plain(name)) in _NAMES:
        return _NAMES[plain]
    close = get_close_matches(plain, _NAMES, n=1)
    remedy = f"write {_NAMES[close[0]]}" if close else "write one of them"
    raise CaseError(
        f"a modality among {', '.join(MODALITIES)}",
        f"“{name}” for {where}",
        f"{remedy}, in the csv or in the file's name; or leave it empty where none fits",
    )
