"""Command line of the training run: `python -m medsam_edge.calibration.training --help`."""

from pathlib import Path
from typing import Annotated

import typer

from ...export.models.config import DEMO
from ...runtime.cases import read_cases
from ...runtime.types import Case
from .finish import finish
from .loop import Plan, train


def main(
    out: Annotated[Path, typer.Option(help="Folder for the state, the log and the finished checkpoint.")],
    cases: Annotated[Path | None, typer.Option(help="Case folder; its `calibration` split is trained on.")] = None,
    steps: Annotated[int, typer.Option(help="Steps of 4 images with 4 boxes each.")] = 8600,
    seed: Annotated[int, typer.Option(help="Seed of weights, samples and order.")] = 0,
    device: Annotated[str, typer.Option(help="`cpu`, or `cuda` for a GPU.")] = "cpu",
) -> None:
    """Train the demo checkpoint, or continue the run that stands in OUT."""
    state = train(DEMO, Plan(steps, seed=seed, device=device), usable(cases), out)
    print(finish(state.average, out))


def usable(folder: Path | None) -> tuple[Case, ...]:
    """Read the cases a box can prompt: OCTA's vessels fill their box with background and would teach nonsense."""
    if folder is None:
        return ()
    return tuple(case for case in read_cases(folder, "calibration") if case.modality != "OCTA")


if __name__ == "__main__":
    typer.run(main)
