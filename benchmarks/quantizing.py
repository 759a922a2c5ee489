"""Runs `quantize` with its progress shown, from what a person typed to the outcome, its tables and its picture."""

from pathlib import Path

from ..calibration.outcome import Outcome, exit_code
from ..calibration.plan import Plan
from ..calibration.quantize import quantize
from ..calibration.three_sets import Sources, three_sets
from ..runtime.bundle import open_bundle
from ..runtime.errors import ExitCode
from .console import progress, show
from .drawing import draw
from .quantize_tables import quantize_tables


def quantize_and_show(
    bundle: Path, sources: Sources, plan: Plan, work: Path | None, plot: Path | None, as_json: bool
) -> ExitCode:
    """Quantize, draw the front, print everything, and return what the verb ends with.

    Args:
        bundle: The bundle's folder.
        sources: Where the cases come from.
        plan: What is asked for.
        work: The folder of the journal and the picture; None: `BUNDLE.work` beside the bundle.
        plot: Another place for the picture.
        as_json: Whether to print JSON.

    Raises:
        MedSAMEdgeError: What `quantize_bundle` raises; and after the result was printed, that the picture could not be
            written where it was asked for.
    """
    folder = work or bundle.resolve().with_name(f"{bundle.resolve().name}.work")
    outcome = quantize_bundle(bundle, sources, plan, folder)
    picture = draw(outcome, plot, folder)
    show("quantize", picture.beside(outcome), as_json, lambda: quantize_tables(outcome, picture))
    if plot is not None and picture.error is not None:
        raise picture.error
    return exit_code(outcome)


def quantize_bundle(bundle: Path, sources: Sources, plan: Plan, work: Path) -> Outcome:
    """Look at the cases, then search; raises what `three_sets` and `quantize` raise."""
    opened = open_bundle(bundle)
    with progress("looking at cases") as report:
        sets = three_sets(sources, report)
    with progress("quantizing") as report:
        return quantize(opened, sets, plan, work, report)
