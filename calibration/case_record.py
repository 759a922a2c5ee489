"""What a bundle keeps of the cases behind it, and what a person is warned of about them.

A bundle is shipped to others, so patients' ids are not written: the start of their SHA-256 is, and overlap can still
be found. That hides an id from a reader, not from somebody who tries all of them. Cases' own ids are written as
they are. Knows nothing of how the bundle stores it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ..runtime.errors import BundleError
from .case_overlap import Fingerprint
from .case_set import PHANTOMS, CaseSet, Purpose
from .modalities import UNKNOWN

SCHEMA = "medsam-edge/cases/1"
FEWEST = 32
_MEND = "quantize the bundle again with this version"


@dataclass(frozen=True)
class CasesSummary:
    """A set of cases in a record, summed up.

    Attributes:
        purpose: What it was used for.
        source: "folder", "csv", "npz" or "phantoms".
        seed: What it was drawn with.
        cases, patients: How many; a case that names no patient counts as one.
        modalities: Each with its number of cases, the most frequent first.
        digest: SHA-256 of the hashes of all images, sorted: the same images give the same digest.
    """

    purpose: str
    source: str
    seed: int
    cases: int
    patients: int
    modalities: tuple[tuple[str, int], ...]
    digest: str


def warnings_of(cases: CaseSet) -> tuple[str, ...]:
    """Say what the cases cannot show; empty where nothing is amiss."""
    modalities = sorted({ref.modality for ref in cases.refs})
    nameless = sum(ref.modality == UNKNOWN for ref in cases.refs)
    patientless = sum(not ref.patient_named for ref in cases.refs)
    everything = len(cases)
    said = {
        f"only {_cases(everything)}: fewer than {FEWEST} say little about what is rare": everything < FEWEST,
        f"one modality only, {modalities[0]}: nothing is known about others": len(modalities) == 1,
        f"{nameless} of {_cases(everything)} name no modality; they count as one": nameless > 0,
        f"{patientless} of {_cases(everything)} name no patient; each counts as another person, and a patient on both "
        "sides would not be noticed": patientless > 0,
        "the cases are phantoms: synthetic images, no patients": cases.source == PHANTOMS,
    }
    return tuple(text for text, holds in said.items() if holds)


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


def to_record(cases: CaseSet, *, purpose: Purpose, seed: int, profile: str) -> dict[str, object]:
    """Describe cases in JSON types, for a bundle's record.

    A patient's id is not in it, only `patient_sha256`, the first 16 digits of its SHA-256; null where nobody named
    one. No salt: two records could not be compared then. Ids that can be guessed, such as "17", can be found out by
    trying. A case's `id` is often its file's name, and is written as it is: it should name nobody.

    Args:
        cases: The cases as they were used, after sampling.
        purpose: What they were used for.
        seed: What sampling, splitting and prompts were drawn with.
        profile: Name of the profile that prepared the images.
    """
    return {
        "schema": SCHEMA,
        "purpose": purpose,
        "source": cases.source,
        "seed": seed,
        "profile": profile,
        "warnings": list(warnings_of(cases)),
        "cases": [
            {
                "id": ref.id,
                "modality": ref.modality,
                "size": ref.size,
                "objects": ref.objects,
                "patient_sha256": ref.patient_key,
                "pixel_sha256": ref.pixel_sha256,
                "file_sha256": ref.file_sha256 or None,
            }
            for ref in cases.refs
        ],
    }


def recorded(record: Mapping[str, object]) -> tuple[Fingerprint, ...]:
    """Return what `check_disjoint` compares, from what `to_record` wrote.

    Raises:
        BundleError: The record is of another schema or lacks something.
    """
    return tuple(map(_fingerprint, _rows(record)))


def summarised(record: Mapping[str, object]) -> CasesSummary:
    """Sum up what `to_record` wrote, for people.

    Raises:
        BundleError: As `recorded`.
    """
    rows = _rows(record)
    prints = tuple(map(_fingerprint, rows))
    purpose, source, seed = record.get("purpose"), record.get("source"), record.get("seed")
    if not isinstance(purpose, str) or not isinstance(source, str) or not isinstance(seed, int):
        raise BundleError("a record of cases with purpose, source and seed", f"{purpose!r}, {source!r}", _MEND)
    found = Counter(str(row.get("modality")) for row in rows)
    return CasesSummary(
        purpose=purpose,
        source=source,
        seed=seed,
        cases=len(rows),
        patients=len({one.patient_key or one.pixel_sha256 for one in prints}),
        modalities=tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))),
        digest=sha256(" ".join(sorted(one.pixel_sha256 for one in prints)).encode()).hexdigest(),
    )


def _rows(record: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    if record.get("schema") != SCHEMA:
        raise BundleError(f"a record of cases of schema {SCHEMA}", f"{record.get('schema')!r}", _MEND)
    rows = record.get("cases")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BundleError("a record that lists its cases", "none", _MEND)
    return rows


def _fingerprint(row: Mapping[str, object]) -> Fingerprint:
    name, pixels, patient = row.get("id"), row.get("pixel_sha256"), row.get("patient_sha256")
    if not isinstance(name, str) or not isinstance(pixels, str) or not (patient is None or isinstance(patient, str)):
        raise BundleError("a case with id, pixel_sha256 and patient_sha256", f"{name!r}", _MEND)
    return Fingerprint(name, pixels, patient)
