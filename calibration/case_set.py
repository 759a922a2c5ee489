"""Cases for calibration, selection and evaluation: looked at once, checked, and then held by reference.

There may be thousands: a `CaseSet` holds what sampling, splitting and records need of each, never its pixels, and
reads one case at a time when it is iterated. Cases come from a folder, a csv list, an .npz, or are phantoms. Knows
nothing of models.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from ..runtime.case_list import CaseFile, list_cases
from ..runtime.cases import read_listed
from ..runtime.errors import CaseError
from ..runtime.files import is_folder
from ..runtime.types import Case, Image, Masks, Progress
from .modalities import known_modality
from .phantoms import phantom

Purpose: TypeAlias = Literal["calibration", "selection", "evaluation"]

PHANTOMS = "phantoms"
# First seeds of each purpose. Evaluation shares those of `verify --phantoms`, so neither sees what was calibrated on;
# golden cases start at 5 million, the demo checkpoint's training at 10 million.
PHANTOM_SEEDS: dict[Purpose, int] = {"evaluation": 0, "calibration": 6_000_000, "selection": 7_000_000}
MAX_PHANTOMS = 100_000
DEFAULT_PHANTOMS = 64

# Bounds of an object's share of its image. The embedding has 64 x 64 cells: below 1 % an object covers fewer than 41
# of them, about 6 x 6, and its mask is mostly border; from 10 % on it is mostly inside. Phantoms and the public
# cases at hand fall into all three classes.
SMALL_BELOW, LARGE_FROM = 0.01, 0.1


@dataclass(frozen=True)
class CaseRef:
    """What is known of a case without its pixels in memory.

    Attributes:
        id: Unique within its set.
        modality: One of `modalities.MODALITIES`, or "unknown".
        patient: As the list gives it, or the case's id where nobody named one.
        patient_named: Whether somebody did. Only then does `patient` say anything outside of its own list.
        pixel_sha256: Of the decoded RGB pixels with their shape and type: the same for a file that was saved again.
        file_sha256: Of the file's bytes; "" for a phantom.
        objects: N, the number of boxes and masks.
        size: "small", "medium" or "large": the median share of the image that its objects cover.
        origin: The file, or a phantom's seed.
    """

    id: str
    modality: str
    patient: str
    patient_named: bool
    pixel_sha256: str
    file_sha256: str
    objects: int
    size: str
    origin: CaseFile | int

    @property
    def stratum(self) -> tuple[str, str]:
        """What sampling keeps in proportion: modality and object size."""
        return self.modality, self.size

    @property
    def patient_key(self) -> str | None:
        """The first 16 hexadecimal digits of the SHA-256 of a named patient, in any letter case, or None."""
        if not self.patient_named:
            return None
        return hashlib.sha256(same_spelling(self.patient).encode("utf-8")).hexdigest()[:16]

    def read(self) -> Case:
        """Read the case.

        Raises:
            CaseError: The file is another one than when it was checked.
            StorageError: It is gone.
        """
        if isinstance(self.origin, int):
            return phantom(self.origin)
        case, _ = read_listed(replace(self.origin, sha256=self.file_sha256))
        return replace(case, modality=self.modality)


@dataclass(frozen=True)
class CaseSet:
    """Cases by reference, in the order of their ids; iterating reads them one at a time.

    Attributes:
        source: "folder", "csv", "npz" or "phantoms".
        refs: At least one, sorted by id whatever order they are given in.

    Raises:
        CaseError: No case, or two of one id.
    """

    source: str
    refs: tuple[CaseRef, ...]

    def __post_init__(self) -> None:
        if not self.refs:
            raise CaseError("at least one case", "none", "name a folder, a csv or an .npz with cases")
        object.__setattr__(self, "refs", tuple(sorted(self.refs, key=lambda ref: ref.id)))
        if repeated := [name for name, count in Counter(ref.id for ref in self.refs).items() if count > 1]:
            raise CaseError("each case once", f"“{repeated[0]}” twice", "give each case an id of its own")

    def __len__(self) -> int:
        return len(self.refs)

    def __iter__(self) -> Iterator[Case]:
        return (ref.read() for ref in self.refs)

    def of(self, refs: Iterable[CaseRef]) -> "CaseSet":
        """Return a set of some of these cases."""
        return CaseSet(self.source, tuple(refs))


def case_set(
    source: str | Path | None,
    purpose: Purpose,
    split: str | None = None,
    phantoms: int = DEFAULT_PHANTOMS,
    progress: Progress = lambda _name, _done, _all: None,
) -> CaseSet:
    """Look at every case once, check that it is usable, and return the set.

    Args:
        source: A folder, a .csv or an .npz as `list_cases` takes it; or None or the word "phantoms" for synthetic
            cases (a folder of that name is `./phantoms`).
        purpose: Phantoms of two purposes have no seed in common.
        split: Only this split of the csv.
        phantoms: How many phantoms.
        progress: Told the case, the cases done, and how many there are.

    Raises:
        CaseError: As `list_cases` and `read_listed`; a case without masks, with one grey level only, or of a
            modality that nobody knows; too few or too many phantoms, or a split of them.
        StorageError: A file cannot be read.
    """
    if source is None or source == PHANTOMS:
        return _phantoms(purpose, split, phantoms, progress)
    path = Path(source)
    files = list_cases(path, split)
    refs = []
    for done, file in enumerate(files):
        progress(file.id, done, len(files))
        refs.append(_of_file(file))
    return CaseSet("folder" if is_folder(path) else path.suffix.lower().removeprefix("."), tuple(refs))


def _phantoms(purpose: Purpose, split: str | None, count: int, progress: Progress) -> CaseSet:
    if split is not None:
        raise CaseError("a csv for a split", f"the split “{split}” of phantoms", "name the folder or csv that has it")
    if not 1 <= count <= MAX_PHANTOMS:
        raise CaseError(f"1 to {MAX_PHANTOMS:,} phantoms", f"{count:,}", "ask for another number")
    first = PHANTOM_SEEDS[purpose]
    refs = []
    for done in range(count):
        case = phantom(first + done)
        progress(case.id, done, count)
        refs.append(_ref(case, f"{case.id}", "", True, first + done))
    return CaseSet(PHANTOMS, tuple(refs))


def _of_file(file: CaseFile) -> CaseRef:
    """Judge the name before the pixels are read."""
    modality = known_modality(file.modality, f"{file.path}")
    case, digest = read_listed(file)
    return _ref(replace(case, modality=modality), f"{file.path}", digest, file.patient_named, file)


def _ref(case: Case, where: str, file_sha256: str, patient_named: bool, origin: CaseFile | int) -> CaseRef:
    if (case.image == case.image[0, 0]).all():
        found = f"every pixel {case.image[0, 0].tolist()} in {where}"
        raise CaseError("an image that is not all one colour", found, "leave the case out, or export its image again")
    if case.masks is None:
        remedy = "add the reference mask of each box as `gts`, or leave the case out"
        raise CaseError("a case with masks (`gts`)", f"only boxes in {where}", remedy)
    return CaseRef(
        id=case.id,
        modality=case.modality,
        patient=case.patient,
        patient_named=patient_named,
        pixel_sha256=pixel_hash(case.image),
        file_sha256=file_sha256,
        objects=len(case.boxes),
        size=size_of(case.masks),
        origin=origin,
    )


def pixel_hash(image: Image) -> str:
    """Return the SHA-256 of an image's type, shape and values, uint8 `(H, W, 3)`."""
    digest = hashlib.sha256(f"{image.dtype} {image.shape} ".encode("ascii"))
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def size_of(masks: Masks) -> str:
    """Return the size class of a case with these masks, bool `(N, H, W)`, N at least 1."""
    share = float(np.median(np.count_nonzero(masks, axis=(1, 2)))) / (masks.shape[1] * masks.shape[2])
    return "small" if share < SMALL_BELOW else "large" if share >= LARGE_FROM else "medium"


def same_spelling(patient: str) -> str:
    """Fold the ways to write one patient's name: letter case and Unicode's composed forms."""
    return unicodedata.normalize("NFKC", patient).casefold().strip()
