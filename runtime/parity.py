"""Is the deployed model still the same model? Tensor, mask and self-consistency checks, with their limits.

Everything here needs only a predictor and golden cases, so it runs on the device. What a golden case is worth depends
on the weights: on random ones parity looks better than it is, and no gate counts (the caller says so).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ParityError
from .golden import Golden
from .metrics import Summary, dice, summarise, surface_dice
from .predictor import Embedding, Prediction, Predictor
from .types import AnyArray, Boxes, Image, Masks

NSD_TOLERANCE_PX = 2.0  # the challenge's tolerance for 2D images (CVPR 2024 MedSAM on Laptop, compute_metrics.py)


@dataclass(frozen=True)
class Limits:
    """What float32 graphs must reach; lower precisions bring their own."""

    cosine: float = 0.9999
    mean_dsc: float = 0.999
    worst_dsc: float = 0.99
    batch_dsc: float = 0.9999


@dataclass(frozen=True)
class TensorRow:
    """One embedding against the source's."""

    id: str
    modality: str
    cosine: float
    max_abs_error: float
    max_abs_value: float


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


def compare_tensors(golden: Golden, embedding: AnyArray) -> TensorRow:
    """Hold an embedding `(1, C, E, E)` against the golden one: cosine of the flattened tensors, largest error."""
    ours, theirs = embedding.astype(np.float64).ravel(), golden.image_embedding.astype(np.float64).ravel()
    norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    cosine = float(ours @ theirs) / norms if norms else float(np.array_equal(ours, theirs))
    error = float(np.abs(ours - theirs).max())
    return TensorRow(golden.id, golden.modality, cosine, error, float(np.abs(theirs).max()))


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
    detail = f"lowest cosine {low.cosine:.6f} ({low.id}), largest error {error:.2e}"
    return Check("tensor", low.cosine >= limits.cosine, detail)


def mask_check(rows: Sequence[MaskRow], limits: Limits) -> Check:
    """Judge the mean DSC and the worst one; the worst is named, because a mean hides it."""
    summary, worst = summarise([row.dsc for row in rows]), min(rows, key=lambda row: row.dsc)
    passed = summary.mean >= limits.mean_dsc and worst.dsc >= limits.worst_dsc
    detail = f"DSC mean {summary.mean:.5f}, worst {worst.dsc:.5f} ({worst.id}, box {worst.index + 1}), n {summary.n}"
    return Check("mask", passed, detail)


def self_consistency(predictor: Predictor, cases: Sequence[tuple[Image, Boxes]], limits: Limits) -> Iterator[Check]:
    """Check what needs no reference.

    Args:
        predictor: The model under test.
        cases: At least two different images with their boxes.
        limits: What it must reach.

    Raises:
        ParityError: If the decoder gives NaN.
    """
    image, boxes = max(cases, key=lambda case: len(case[1]))
    embedding = predictor.embed(image)
    together = predictor.predict(embedding, boxes)
    yield _finite(embedding, together)
    yield _batch(predictor, embedding, boxes, together, limits)
    yield _repeatable(predictor, image, boxes, together, limits)
    other = next(one for one, _ in cases if one is not image)
    yield _distinct(embedding, predictor.embed(other))


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


def _finite(embedding: Embedding, prediction: Prediction) -> Check:
    values = embedding.tensor.numpy()
    spread = float(values.std())
    finite = bool(np.isfinite(values).all() and np.isfinite(prediction.low_res_logits).all())
    return Check("finite, not constant", finite and spread > 0, f"embedding spread {spread:.3g}")


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
