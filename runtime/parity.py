"""Is the deployed model still the same model? Tensor, mask and self-consistency checks, with their limits.

Everything here needs only a predictor and golden cases, so it runs on the device. What a golden case is worth depends
on the weights: on random ones parity looks better than it is, and no gate counts (the caller says so).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import BundleError, ParityError
from .golden import Golden
from .metrics import Summary, dice, summarise, surface_dice
from .predictor import Embedding, Prediction, Predictor
from .types import AnyArray, Boxes, Image, Masks

NSD_TOLERANCE_PX = 2.0  # the challenge's tolerance for 2D images (CVPR 2024 MedSAM on Laptop, compute_metrics.py)


@dataclass(frozen=True)
class Limits:
    """What every graph must reach."""

    cosine: float = 0.9999
    mean_dsc: float = 0.999
    worst_dsc: float = 0.99
    iou_error: float = 0.01
    batch_dsc: float = 0.9999


HALF = Limits(cosine=0.999, mean_dsc=0.995, worst_dsc=0.97, iou_error=0.02, batch_dsc=0.999)
"""What a float16 graph must reach; also one in int8, whose masks `quantize` has judged on cases of its own."""


@dataclass(frozen=True)
class TensorRow:
    """One embedding against the source's, and the largest error of the IoU estimates of its boxes."""

    id: str
    modality: str
    cosine: float
    max_abs_error: float
    max_abs_value: float
    max_iou_error: float


@dataclass(frozen=True)
class MaskRow:
    """One mask against another of the same box. `index` is the box's place in its case, from 0."""

    id: str
    modality: str
    index: int
    dsc: float
    nsd: float


@dataclass(frozen=True)
class Check:
    """A yes-or-no finding with the figure behind it."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Group:
    """Mask agreement over one modality, or over all of them."""

    modality: str
    dsc: Summary
    nsd: Summary


@dataclass(frozen=True, eq=False)
class Answered:
    """An image with its boxes, and what the model under test makes of it."""

    image: Image
    boxes: Boxes
    embedding: Embedding
    prediction: Prediction


@dataclass(frozen=True)
class GoldenRows:
    """A golden case answered by the model under test, and how that compares with the source's answer."""

    tensor: TensorRow
    masks: tuple[MaskRow, ...]
    answered: Answered


def compare_golden(predictor: Predictor, golden: Golden) -> GoldenRows:
    """Run a golden case and hold embedding, IoU estimates and masks against the source's.

    Raises:
        BundleError: If the golden embedding has another shape than the model's.
        ParityError: If the model answers with NaN.
    """
    answered = answer(predictor, golden.image, golden.boxes)
    found = answered.prediction
    tensor = compare_tensors(golden, answered.embedding.tensor.numpy(), found.iou_predictions)
    return GoldenRows(tensor, compare_masks(golden.id, golden.modality, found.masks, golden.masks), answered)


def answer(predictor: Predictor, image: Image, boxes: Boxes) -> Answered:
    """Run the model under test on an image.

    Raises:
        ParityError: If the model answers with NaN.
    """
    embedding = predictor.embed(image)
    return Answered(image, boxes, embedding, predictor.predict(embedding, boxes))


def compare_tensors(golden: Golden, embedding: AnyArray, iou_predictions: AnyArray) -> TensorRow:
    """Compare an embedding `(1, C, E, E)` by cosine and largest error, IoU estimates `(N, 1)` by largest error.

    Raises:
        BundleError: If the golden embedding has another shape.
    """
    if embedding.shape != golden.image_embedding.shape:
        expected = f"a golden embedding {list(embedding.shape)} in case {golden.id!r}"
        raise BundleError(expected, str(list(golden.image_embedding.shape)), "export the bundle again")
    ours, theirs = embedding.astype(np.float64).ravel(), golden.image_embedding.astype(np.float64).ravel()
    norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    cosine = float(ours @ theirs) / norms if norms else float(np.array_equal(ours, theirs))
    error = float(np.abs(ours - theirs).max())
    iou_error = float(np.abs(iou_predictions - golden.iou_predictions).max())
    return TensorRow(golden.id, golden.modality, cosine, error, float(np.abs(theirs).max()), iou_error)


def compare_masks(id: str, modality: str, ours: Masks, theirs: Masks) -> tuple[MaskRow, ...]:  # noqa: A002
    """Hold masks `(N, H, W)` against others of the same boxes: DSC, and NSD at 2 pixels."""
    return tuple(
        MaskRow(id, modality, index, dice(mine, other), surface_dice(mine, other, NSD_TOLERANCE_PX))
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True))
    )


def groups(rows: Iterable[MaskRow]) -> tuple[Group, ...]:
    """Summarise rows by modality in alphabetical order, then all together under "all"."""
    listed = list(rows)
    names = sorted({row.modality for row in listed})
    chosen = [(name, [row for row in listed if row.modality == name]) for name in names] + [("all", listed)]
    return tuple(
        Group(name, summarise([row.dsc for row in some]), summarise([row.nsd for row in some])) for name, some in chosen
    )


def tensor_check(rows: Sequence[TensorRow], limits: Limits) -> Check:
    """Judge the lowest cosine."""
    low = min(rows, key=lambda row: (np.isfinite(row.cosine), row.cosine))  # NaN is the lowest of all
    error = float(np.max([row.max_abs_error for row in rows]))
    detail = f"lowest cosine {low.cosine:.6f} ({low.id}; limit {limits.cosine}), largest error {error:.2e}"
    return Check("tensor", low.cosine >= limits.cosine, detail)


def iou_check(rows: Sequence[TensorRow], limits: Limits) -> Check:
    """Judge the largest error of an IoU estimate; it ranks masks for people and drives fallbacks."""
    error = float(np.max([row.max_iou_error for row in rows]))
    return Check("IoU estimates", error <= limits.iou_error, f"largest error {error:.2e} (limit {limits.iou_error})")


def mask_check(rows: Sequence[MaskRow], limits: Limits) -> Check:
    """Judge the mean DSC and the worst one; the worst is named, because a mean hides it."""
    summary, worst = summarise([row.dsc for row in rows]), min(rows, key=lambda row: row.dsc)
    passed = summary.mean >= limits.mean_dsc and worst.dsc >= limits.worst_dsc
    place = f"{worst.id}, box {worst.index + 1}"
    detail = (
        f"DSC mean {summary.mean:.5f} (limit {limits.mean_dsc}), worst {worst.dsc:.5f} ({place}; limit "
        f"{limits.worst_dsc}), n {summary.n}"
    )
    return Check("mask", passed, detail)


def self_consistency(predictor: Predictor, answered: Sequence[Answered], limits: Limits) -> Iterator[Check]:
    """Check what needs no reference.

    Args:
        predictor: The model under test.
        answered: Its answers to at least two different images.
        limits: What it must reach.

    Raises:
        ParityError: If the decoder gives NaN.
    """
    yield _alive([one.embedding for one in answered], [one.prediction for one in answered])
    largest = max(answered, key=lambda one: len(one.boxes))
    yield _batch(predictor, largest.embedding, largest.boxes, largest.prediction, limits)
    yield _repeatable(predictor, largest.image, largest.boxes, largest.prediction, limits)
    other = next(one for one in answered if one.image is not largest.image)
    yield _distinct(largest.embedding, other.embedding)


def require(checks: Iterable[Check], subject: str) -> None:
    """Raise if a check failed.

    Raises:
        ParityError: Naming every failed check with its figure.
    """
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise ParityError(
            f"{subject} to draw the source's masks",
            "; ".join(failed),
            "do not deploy it; try another backend or precision, and report it with this message",
        )


def _alive(embeddings: Sequence[Embedding], answers: Sequence[Prediction]) -> Check:
    # A NaN or infinity anywhere makes the spread NaN, which is not above 0 either; IoU estimates may well be equal.
    embedded = min(_spread(one.tensor.numpy()) for one in embeddings)
    drawn = min(_spread(logits) for one in answers for logits in one.low_res_logits)
    detail = f"smallest spread of an embedding {embedded:.3g}, of a mask's logits {drawn:.3g}"
    return Check("finite, not constant", embedded > 0 and drawn > 0, detail)


def _spread(values: AnyArray) -> float:
    with np.errstate(invalid="ignore"):
        spread = float(values.astype(np.float64).std())
    return spread if np.isfinite(spread) else 0.0


def _batch(predictor: Predictor, embedding: Embedding, boxes: Boxes, together: Prediction, limits: Limits) -> Check:
    singles = np.concatenate([predictor.predict(embedding, box[None]).masks for box in boxes])
    lowest = min(dice(one, other) for one, other in zip(singles, together.masks, strict=True))
    return Check(f"{len(boxes)} boxes at once = one by one", lowest >= limits.batch_dsc, f"lowest DSC {lowest:.6f}")


def _repeatable(predictor: Predictor, image: Image, boxes: Boxes, first: Prediction, limits: Limits) -> Check:
    again = predictor.segment(image, boxes)
    lowest = min(dice(one, other) for one, other in zip(again.masks, first.masks, strict=True))
    return Check("second run = first run", lowest >= limits.batch_dsc, f"lowest DSC {lowest:.6f}")


def _distinct(one: Embedding, other: Embedding) -> Check:
    difference = float(np.abs(one.tensor.numpy() - other.tensor.numpy()).max())
    return Check("two images, two embeddings", difference > 1e-3, f"largest difference {difference:.3g}")
