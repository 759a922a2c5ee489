"""The figures of the model card: `python -m medsam_edge.calibration.training.evaluate --cases FOLDER`.

DSC of the packaged checkpoint, in PyTorch, on phantoms that training never drew and on the `test` split of a case
folder, each beside the filled box and the ellipse inside the box. A row is a modality; a figure is a mean over objects.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ...export.architecture import model_of
from ...export.checkpoint import read_checkpoint
from ...export.demo_checkpoint import DEMO_NAME, checkpoint_path
from ...export.reference import Reference
from ...runtime.boxes import box_fill, inscribed_ellipse
from ...runtime.cases import read_cases
from ...runtime.metrics import dice
from ...runtime.profile import medsam
from ...runtime.types import Boxes, Case, Mask
from ..phantoms import MODALITIES, phantom
from .slices import volume_cases

Row = tuple[str, float, float, float]
APART = "OCTA"  # thin vessels: a box says little about them


def main(
    cases: Annotated[Path | None, typer.Option(help="Case folder; its `test` split is evaluated.")] = None,
    checkpoint: Annotated[str, typer.Option(help="The weights, or the word `demo`.")] = DEMO_NAME,
    each: Annotated[int, typer.Option(help="Held-out phantoms of each modality.")] = 30,
) -> None:
    """Print one Markdown table for the phantoms and one for the real cases."""
    tensors = read_checkpoint(checkpoint_path(checkpoint)).tensors
    model = model_of(tensors)
    reference = Reference(model, medsam(model.config.image_size))
    show(f"Held-out phantoms ({each} of each modality)", rows(reference, held_out(each)))
    if cases is not None:
        real = (*read_cases(cases, "test"), *volume_cases(cases, "test"))
        show("Real cases, `test` split", rows(reference, real))


def held_out(each: int) -> Iterator[Case]:
    """Yield phantoms with seeds from 0, each modality as often."""
    return (phantom(seed, name) for name in MODALITIES for seed in range(each))


def rows(reference: Reference, cases: Iterable[Case]) -> list[Row]:
    """Return modality, DSC of the model, of the filled box and of the ellipse, one row an object."""
    return [row for case in cases for row in _case_rows(reference, case)]


def _case_rows(reference: Reference, case: Case) -> Iterator[Row]:
    assert case.masks is not None
    drawn = reference.answer(case).masks
    image_hw = (case.image.shape[0], case.image.shape[1])
    baselines: tuple[Callable[[Boxes, tuple[int, int]], Mask], ...] = (box_fill, inscribed_ellipse)
    for mine, truth, box in zip(drawn, case.masks, case.boxes, strict=True):
        filled, ellipse = (dice(draw(box, image_hw), truth) for draw in baselines)
        yield case.modality, dice(mine, truth), filled, ellipse


def show(title: str, found: list[Row]) -> None:
    """Print a table: modalities, their mean, and what is reported apart from it."""
    names = sorted({name for name, *_ in found}, key=lambda name: (name == APART, name))
    means = {name: np.mean([values for other, *values in found if other == name], axis=0) for name in names}
    print(f"\n{title}\n\n| modality | objects | DSC | box filled | ellipse |\n|---|---|---|---|---|")
    for name in names:
        count = sum(other == name for other, *_ in found)
        print(f"| {name}{' (apart)' if name == APART else ''} | {count} | {_figures(means[name])} |")
    together = np.mean([mean for name, mean in means.items() if name != APART], axis=0)
    print(f"| **mean of the modalities** | | {_figures(together)} |")


def _figures(values: Iterable[float]) -> str:
    return " | ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    typer.run(main)
