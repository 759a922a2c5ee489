"""A bundle's profile against its source's own libraries: the same graphs, once with our steps and once with theirs.

    python -m medsam_edge.benchmarks.profiles BUNDLE --phantoms 50

Where a profile is only approximated (MedSAM's resize in float32; uint8 where the Slicer plug-in has floats), the masks
say what it costs. Needs scikit-image, OpenCV or Transformers, whichever the profile is defined by, and PyTorch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..runtime.boxes import check_boxes
from ..runtime.bundle import Bundle, open_bundle
from ..runtime.errors import MedSAMEdgeError
from ..runtime.loading import load
from ..runtime.metrics import dice, summarise
from ..runtime.predictor import MAX_BOXES, Predictor
from ..runtime.profile_steps import preprocess
from ..runtime.types import Case, Masks
from .cases import golden_of, phantom_cases
from .console import explain
from .source_steps import SourceSteps, source_steps


@dataclass(frozen=True)
class ProfileRow:
    """One case: grey levels of the encoder's input, and the Dice coefficient of each box's two masks."""

    values: int
    equal: int
    largest_difference: int
    dice: tuple[float, ...]


@dataclass(frozen=True)
class ProfileParity:
    """A profile's cases together.

    Attributes:
        equal_share: Of the values of the encoder's input, those that are the source's own.
        largest_difference: Of two such values, in grey levels.
        masks: How many pairs of masks.
        dice_mean, dice_worst: Over all pairs; two empty masks agree.
    """

    profile: str
    cases: int
    equal_share: float
    largest_difference: int
    masks: int
    dice_mean: float
    dice_worst: float


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    phantoms: Annotated[int, typer.Option(min=0, help="Synthetic cases beside the bundle's golden ones.")] = 0,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, …")] = "auto",
) -> None:
    """Print how far a bundle's profile is from its source's own steps, in grey levels and in masks."""
    try:
        found = profile_parity(open_bundle(bundle), phantoms, backend)
    except MedSAMEdgeError as error:
        explain(error, as_json=False)
        raise typer.Exit(error.exit_code) from error
    print(
        f"{found.profile}: {found.cases} cases; encoder input {found.equal_share:.4%} equal, "
        f"largest difference {found.largest_difference}; "
        f"{found.masks} masks, DSC mean {found.dice_mean:.5f}, worst {found.dice_worst:.5f}"
    )


def profile_parity(bundle: Bundle, phantoms: int, backend: str) -> ProfileParity:
    """Compare our steps with the source's on a bundle's golden cases and phantoms.

    Raises:
        MissingExtraError: If a library of the source is not installed.
        BundleError: As `load`.
    """
    with load(bundle, backend) as predictor:
        steps = source_steps(predictor.profile.name)
        rows = list(compare(predictor, steps, (*_golden_cases(bundle), *phantom_cases(phantoms))))
    return _together(predictor.profile.name, rows)


def compare(predictor: Predictor, steps: SourceSteps, cases: Iterable[Case]) -> Iterator[ProfileRow]:
    """Compare case by case."""
    for case in cases:
        embedding, side = predictor.embed(case.image), predictor.profile.image_size
        ours = preprocess(predictor.profile, case.image)
        theirs = steps.encoder_inputs(case.image, side)["image"]
        difference = np.abs(ours.astype(np.int16) - theirs)
        masks = zip(predictor.predict(embedding, case.boxes).masks, source_masks(predictor, steps, case), strict=True)
        scores = tuple(dice(mask, wanted) for mask, wanted in masks)
        yield ProfileRow(difference.size, int((difference == 0).sum()), int(difference.max()), scores)


def source_masks(predictor: Predictor, steps: SourceSteps, case: Case) -> Masks:
    """Draw a case with the predictor's graphs and the source's steps."""
    image_hw, side = (case.image.shape[0], case.image.shape[1]), predictor.profile.image_size
    embedding = predictor.encode(steps.encoder_inputs(case.image, side))
    prompts = steps.boxes(check_boxes(case.boxes, image_hw), image_hw, side)
    chunks = (prompts[start : start + MAX_BOXES] for start in range(0, len(prompts), MAX_BOXES))
    return np.concatenate([steps.masks(predictor.decode(embedding, chunk)[0], image_hw, side) for chunk in chunks])


def _golden_cases(bundle: Bundle) -> Iterator[Case]:
    for golden in golden_of(bundle):
        yield Case(golden.id, golden.image, golden.boxes, golden.reference, golden.modality, golden.id)


def _together(profile: str, rows: Sequence[ProfileRow]) -> ProfileParity:
    scores = summarise([score for row in rows for score in row.dice])
    return ProfileParity(
        profile=profile,
        cases=len(rows),
        equal_share=sum(row.equal for row in rows) / sum(row.values for row in rows),
        largest_difference=max(row.largest_difference for row in rows),
        masks=scores.n,
        dice_mean=scores.mean,
        dice_worst=scores.worst,
    )


if __name__ == "__main__":
    typer.run(main)
