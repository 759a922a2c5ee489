"""Three sets of cases that share nobody: to find ranges, to choose by, and to be judged on."""

from dataclasses import dataclass, field
from pathlib import Path

from ..runtime.errors import CaseError
from ..runtime.types import Progress
from .case_overlap import check_disjoint
from .case_record import to_record, warnings_of
from .case_sampling import sampled, split_by_patient
from .case_set import PHANTOMS, CaseSet, Purpose, case_set

SHARES = {"calibration": 0.4, "selection": 0.2, "evaluation": 0.4}


@dataclass(frozen=True)
class Counts:
    """The most cases of each set."""

    calibration: int = 32
    selection: int = 16
    evaluation: int = 100


@dataclass(frozen=True)
class Sources:
    """Where the cases come from.

    Attributes:
        cases: A folder, csv or npz; None or "phantoms" for synthetic cases.
        evaluation: Cases of their own to judge on; None parts `cases`, by patient.
        split: The csv's split to calibrate on; None takes all.
        evaluation_split: The split to judge on; of `cases` where `evaluation` is None.
        counts: The most cases of each set.
        seed: What sets and prompts are drawn with.
    """

    cases: str | Path | None = None
    evaluation: str | Path | None = None
    split: str | None = None
    evaluation_split: str | None = None
    counts: Counts = field(default_factory=Counts)
    seed: int = 0


@dataclass(frozen=True)
class ThreeSets:
    """Cases to find ranges, to choose candidates by, and to judge the chosen one on; no patient is in two."""

    calibration: CaseSet
    selection: CaseSet
    evaluation: CaseSet
    seed: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What these cases cannot show, a sentence each."""
        return tuple(f"{name}: {text}" for name, cases in self._named.items() for text in warnings_of(cases))

    def records(self, profile: str) -> list[dict[str, object]]:
        """Describe them for a bundle's record."""
        return [to_record(cases, purpose=name, seed=self.seed, profile=profile) for name, cases in self._named.items()]

    @property
    def _named(self) -> dict[Purpose, CaseSet]:
        return {"calibration": self.calibration, "selection": self.selection, "evaluation": self.evaluation}


def three_sets(sources: Sources, progress: Progress) -> ThreeSets:
    """Look at every case once and share the cases out.

    Args:
        sources: Where they come from.
        progress: Told the case, the cases done, and how many there are.

    Raises:
        CaseError: A case is unusable, there are too few, or calibration and evaluation share pixels or a patient.
        StorageError: A file cannot be read.
    """
    if sources.cases is None or sources.cases == PHANTOMS:
        return _of_phantoms(sources, progress)
    listed, seed = case_set(sources.cases, "calibration", sources.split, progress=progress), sources.seed
    if sources.evaluation is None and sources.evaluation_split is None:
        return _shared_out(split_by_patient(_enough(listed, 3), SHARES, seed), sources.counts, seed)
    judged = _judged_on(sources, sources.evaluation or sources.cases, progress)
    check_disjoint(listed, judged)
    rest = {name: share for name, share in SHARES.items() if name != "evaluation"}
    parted = split_by_patient(_enough(listed, 2), rest, seed)
    return _shared_out({**parted, "evaluation": judged}, sources.counts, seed)


def _of_phantoms(sources: Sources, progress: Progress) -> ThreeSets:
    counts = sources.counts
    calibration = case_set(None, "calibration", sources.split, counts.calibration, progress)
    selection = case_set(None, "selection", None, counts.selection, progress)
    judged = _judged_on(sources, sources.evaluation, progress)
    check_disjoint(calibration, judged)
    return _shared_out({"calibration": calibration, "selection": selection, "evaluation": judged}, counts, sources.seed)


def _judged_on(sources: Sources, source: str | Path | None, progress: Progress) -> CaseSet:
    return case_set(source, "evaluation", sources.evaluation_split, sources.counts.evaluation, progress)


def _shared_out(sets: dict[str, CaseSet], counts: Counts, seed: int) -> ThreeSets:
    most = {"calibration": counts.calibration, "selection": counts.selection, "evaluation": counts.evaluation}
    drawn = {name: sampled(cases, min(most[name], len(cases)), seed) for name, cases in sets.items()}
    check_disjoint(drawn["selection"], drawn["evaluation"])
    return ThreeSets(drawn["calibration"], drawn["selection"], drawn["evaluation"], seed)


def _enough(cases: CaseSet, least: int) -> CaseSet:
    if len(cases) < least:
        raise CaseError(f"at least {least} cases to share out", f"{len(cases)}", "add cases, or use phantoms")
    return cases
