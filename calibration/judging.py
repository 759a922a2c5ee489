"""Judges candidates on the evaluation cases, which nothing was chosen by."""

from dataclasses import dataclass

from ..runtime.backends.base import BackendChoice
from ..runtime.errors import CaseError, ParityError
from .bootstrap import LEAST_PATIENTS, unseen_share
from .case_set import CaseSet
from .encoders import Encoder
from .scores import LOW, Drop, Limits, people, summed
from .trial import Trial


@dataclass(frozen=True)
class Judged:
    """What a candidate loses, or None where it has no masks, and what speaks against it."""

    drop: Drop | None
    objections: tuple[str, ...]


def judged(trial: Trial, cases: CaseSet, choice: BackendChoice, encoder: Encoder, limits: Limits, seed: int) -> Judged:
    """Hold a candidate's masks against the limits.

    Args:
        trial: Where the float32 graph has answered `cases`.
        cases: To be judged on.
        choice: The candidate.
        encoder: What it runs.
        limits: What it may lose.
        seed: What bounds are drawn with.
    """
    if encoder.objection:
        return Judged(None, (encoder.objection,))
    try:
        drop = summed(trial.scores(cases, choice, encoder.data), seed)
    except ParityError as error:
        return Judged(None, (f"no usable masks: {error.found}",))
    return Judged(drop, drop.objections(limits))


def check_enough(cases: CaseSet) -> None:
    """Refuse cases that bound nothing, before hours are spent on them.

    Raises:
        CaseError: Fewer than `LEAST_PATIENTS` patients.
    """
    count = len({ref.patient for ref in cases.refs})
    if count < LEAST_PATIENTS:
        remedy = "add cases of other patients, or judge on synthetic ones with --evaluation phantoms"
        raise CaseError(f"at least {LEAST_PATIENTS} patients to judge on", people(count), remedy)


def unbounded(cases: CaseSet) -> tuple[str, ...]:
    """Say which modalities have too few patients for a bound, a sentence each; empty where none has."""
    patients: dict[str, set[str]] = {}
    for ref in cases.refs:
        patients.setdefault(ref.modality, set()).add(ref.patient)
    return tuple(
        f"evaluation: {modality} has {people(len(found))} only, too few for a bound; its mean is held against the limit"
        for modality, found in sorted(patients.items())
        if len(found) < LEAST_PATIENTS
    )


def unseen(cases: CaseSet, drops: list[Drop]) -> tuple[str, ...]:
    """Say what cases without a single low mask leave open: a bootstrap of nothing but zeros bounds nothing."""
    if all(drop.low for drop in drops):
        return ()
    count = len({ref.patient for ref in cases.refs})
    share = f"{unseen_share(count):.1%} of patients"
    return (f"where no mask of {people(count)} is below {LOW}, up to {share} may still have one",)
