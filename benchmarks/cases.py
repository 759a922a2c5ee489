"""Which cases become a bundle's golden ones, and which phantoms a person's `--phantoms N` means."""

from pathlib import Path

from ..calibration.phantoms import MODALITIES, phantom
from ..runtime.boxes import check_boxes
from ..runtime.bundle import Bundle
from ..runtime.cases import read_cases
from ..runtime.errors import BoxError, BundleError, UsageError
from ..runtime.golden import Golden
from ..runtime.types import Case

# Far below the seeds that training draws from, far above those that `--phantoms N` counts up from 0.
FIRST_GOLDEN_SEED = 5_000_000
ODD_SIZE = (211, 300)  # neither square nor a multiple of anything


def golden_cases(trained: bool = True) -> tuple[Case, ...]:
    """Return one phantom of each modality and a non-square one more; of these only the last two for random weights.

    Random weights have nothing to show about modalities: two cases show that graphs and runtimes agree.
    """
    square = [phantom(FIRST_GOLDEN_SEED + index, name, size=(256, 256)) for index, name in enumerate(MODALITIES)]
    cases = (*square, phantom(FIRST_GOLDEN_SEED + len(MODALITIES), "X-ray", size=ODD_SIZE))
    return cases if trained else cases[-2:]


def golden_of(bundle: Bundle) -> tuple[Golden, ...]:
    """Read a bundle's golden cases.

    Raises:
        BundleError: If there are fewer than two (one image cannot show that two images get two embeddings), or one
            whose boxes no model can be asked about.
    """
    golden = bundle.golden_cases()
    if len(golden) < 2:
        raise BundleError("a bundle with at least two golden cases", str(len(golden)), "export it again")
    for case in golden:
        try:
            check_boxes(case.boxes, (case.image.shape[0], case.image.shape[1]))
        except BoxError as error:  # the artefact's fault, not the person's
            raise BundleError(f"{error.expected} in golden case {case.id!r}", error.found, "export it again") from error
    return golden


def phantom_cases(count: int) -> tuple[Case, ...]:
    """Return the held-out phantoms with seeds 0 to `count - 1`, modalities in turn."""
    return tuple(phantom(seed) for seed in range(count))


def cases_for(folder: Path | None, split: str | None, phantoms: int) -> tuple[Case, ...]:
    """Return the cases a person asked for: those of a folder, then phantoms.

    Raises:
        UsageError: If a split is named, but no folder that has one.
        CaseError, StorageError: As `read_cases`.
    """
    if split is not None and folder is None:
        raise UsageError(f"a folder of cases for the split {split!r}", "none", "add --cases with that folder")
    read = tuple(read_cases(folder, split)) if folder is not None else ()
    return (*read, *phantom_cases(phantoms))
