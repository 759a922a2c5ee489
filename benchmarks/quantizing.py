"""Runs `quantize` with its progress shown, from what a person typed to the outcome."""

from pathlib import Path

from ..calibration.outcome import Outcome
from ..calibration.plan import Plan
from ..calibration.quantize import quantize
from ..calibration.three_sets import Sources, three_sets
from ..runtime.bundle import open_bundle
from .console import progress


def quantize_bundle(bundle: Path, sources: Sources, plan: Plan, work: Path | None) -> Outcome:
    """Look at the cases, then search; raises what `three_sets` and `quantize` raise.

    Args:
        bundle: The bundle's folder.
        sources: Where the cases come from.
        plan: What is asked for.
        work: The journal's folder; None: `BUNDLE.work` beside the bundle.
    """
    opened, folder = open_bundle(bundle), bundle.resolve()
    with progress("looking at cases") as report:
        sets = three_sets(sources, report)
    with progress("quantizing") as report:
        return quantize(opened, sets, plan, work or folder.with_name(f"{folder.name}.work"), report)
