"""Refuses cases on both sides of a comparison: what a model was calibrated on says nothing about how good it is.

Two cases are the same where their pixels are, and belong together where their patient is. The rule for patients,
when two lists come from different sources:

- An id that somebody named is compared as it is, in any letter case. Two hospitals may both have a patient "1": they
  are taken for one person, because a false alarm costs a renaming and a missed overlap costs the result.
- An id that nobody named is only the case's own name ("slice_001") and no statement about a person. It is not
  compared; `case_record.warnings_of` says how many cases that leaves unprotected.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..runtime.errors import CaseError
from .case_set import CaseSet

_SHOWN = 3


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of a case, and what a bundle keeps of it: `patient_key` as of `CaseRef`."""

    id: str
    pixel_sha256: str
    patient_key: str | None


def fingerprints(cases: CaseSet) -> tuple[Fingerprint, ...]:
    """Return what is compared of each case."""
    return tuple(Fingerprint(ref.id, ref.pixel_sha256, ref.patient_key) for ref in cases.refs)


def check_disjoint(
    calibration: CaseSet | Sequence[Fingerprint],
    evaluation: CaseSet | Sequence[Fingerprint],
    names: tuple[str, str] = ("calibration", "evaluation"),
) -> None:
    """Refuse two sets that share an image or a patient.

    Args:
        calibration: Cases, or what a bundle's record keeps of them (`case_record.recorded`).
        evaluation: The same.
        names: What the sets are called in the message.

    Raises:
        CaseError: They share pixels or a patient; it names the first few cases of each set.
    """
    first, second = (
        fingerprints(side) if isinstance(side, CaseSet) else tuple(side) for side in (calibration, evaluation)
    )
    both = f"{names[0]} and {names[1]}"
    if pairs := _pairs(((one.pixel_sha256, one.id) for one in first), ((one.pixel_sha256, one.id) for one in second)):
        remedy = f"take them out of {names[0]} or out of {names[1]}"
        raise CaseError(f"{both} cases without a common image", _shown(pairs, "the same pixels"), remedy)
    if pairs := _pairs(((one.patient_key, one.id) for one in first), ((one.patient_key, one.id) for one in second)):
        remedy = (
            "move all cases of a patient to one side; if two people have one id by accident, put their source before "
            "it, such as SITE-1"
        )
        raise CaseError(f"{both} cases without a common patient", _shown(pairs, "one patient"), remedy)


def _pairs(first: Iterable[tuple[str | None, str]], second: Iterable[tuple[str | None, str]]) -> list[tuple[str, str]]:
    """The ids of cases with the same key; a key of None is nobody's."""
    there = {key: name for key, name in first if key is not None}
    return [(there[key], name) for key, name in second if key in there]


def _shown(pairs: Sequence[tuple[str, str]], tie: str) -> str:
    listed = ", ".join(f"{one} and {other}" for one, other in pairs[:_SHOWN])
    more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return f"{tie}: {listed}{more}"
