"""The four layers of verification: tensor, mask, task, self-consistency, for one bundle on one or more backends.

The first and the last need only the bundle. The mask layer uses the bundle's golden cases, or any cases where the
source checkpoint is at hand to answer them; the task layer needs reference masks. It decides nothing but pass or
fail against stated limits, and prints nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..runtime.boxes import box_fill, inscribed_ellipse
from ..runtime.bundle import Bundle
from ..runtime.golden import Golden
from ..runtime.manifest import Manifest
from ..runtime.parity import (
    Check,
    Group,
    Limits,
    MaskRow,
    compare_masks,
    compare_tensors,
    groups,
    mask_check,
    self_consistency,
    tensor_check,
)
from ..runtime.predictor import Prediction, ServedBy, load
from ..runtime.types import Boxes, Case, Masks
from .console import require_extra

Progress = Callable[[str, int, int], None]
Answer = Callable[[Case], Golden]


@dataclass(frozen=True)
class TaskGroup:
    """Agreement with what a person drew, beside two baselines that need no model."""

    modality: str
    model: Group
    box_fill: Group
    ellipse: Group


@dataclass(frozen=True)
class BackendReport:
    """All findings on one backend. `mask_cases` says what the mask layer was measured on."""

    served_by: ServedBy
    checks: tuple[Check, ...]
    mask_cases: str
    masks: tuple[Group, ...]
    tasks: tuple[TaskGroup, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of `verify`. `gating` is False for random weights: their parity proves nothing."""

    bundle: str
    digest: str
    gating: bool
    limits: Limits
    backends: tuple[BackendReport, ...]

    @property
    def passed(self) -> bool:
        """Whether every backend passed."""
        return all(report.passed for report in self.backends)


@dataclass
class _Found:
    """Rows of one backend, as they are found."""

    masks: list[MaskRow] = field(default_factory=list)
    tasks: list[MaskRow] = field(default_factory=list)
    filled: list[MaskRow] = field(default_factory=list)
    ellipses: list[MaskRow] = field(default_factory=list)


def verify(
    bundle: Bundle,
    backends: Sequence[str],
    cases: Sequence[Case] = (),
    answer: Answer | None = None,
    progress: Progress = lambda _name, _done, _all: None,
) -> VerifyReport:
    """Verify a bundle.

    Args:
        bundle: The opened bundle.
        backends: Names as `load` takes them.
        cases: Cases beside the golden ones, for the task layer and, with `answer`, for the mask layer.
        answer: The source checkpoint's answer to a case, where it is at hand.
        progress: Told the backend, the cases done, and how many there are.

    Raises:
        BundleError, MissingExtraError: As `load`.
    """
    golden = bundle.golden_cases()
    limits = Limits()
    reports = [_verify_backend(bundle, name, golden, cases, answer, limits, progress) for name in backends]
    return VerifyReport(str(bundle.root), bundle.manifest.digest, bundle.manifest.model.trained, limits, tuple(reports))


def _verify_backend(
    bundle: Bundle,
    name: str,
    golden: Sequence[Golden],
    cases: Sequence[Case],
    answer: Answer | None,
    limits: Limits,
    progress: Progress,
) -> BackendReport:
    found = _Found()
    with load(bundle, name) as predictor:
        tensors = []
        for done, case in enumerate(_all_cases(golden, cases, answer)):
            progress(str(predictor.served_by.backend), done, len(golden) + len(cases))
            embedding = predictor.embed(case.image)
            if isinstance(case, Golden):
                tensors.append(compare_tensors(case, embedding.tensor.numpy()))
            _judge(found, case, predictor.predict(embedding, case.boxes))
        checks = (
            tensor_check(tensors, limits),
            mask_check(found.masks, limits),
            *self_consistency(predictor, [(case.image, case.boxes) for case in golden], limits),
        )
        return BackendReport(
            predictor.served_by,
            checks,
            _mask_cases(golden, cases, answer),
            groups(found.masks),
            _tasks(found),
        )


def _all_cases(golden: Sequence[Golden], cases: Sequence[Case], answer: Answer | None) -> Iterator[Golden | Case]:
    yield from golden
    for case in cases:
        yield answer(case) if answer else case


def _mask_cases(golden: Sequence[Golden], cases: Sequence[Case], answer: Answer | None) -> str:
    more = f" and {len(cases)} cases answered by the source checkpoint" if answer and cases else ""
    return f"{len(golden)} golden cases{more}"


def _judge(found: _Found, case: Golden | Case, prediction: Prediction) -> None:
    if isinstance(case, Golden):
        found.masks += compare_masks(case.id, case.modality, prediction.masks, case.masks)
        reference = case.reference
    else:
        reference = case.masks
    if reference is None:
        return
    found.tasks += compare_masks(case.id, case.modality, prediction.masks, reference)
    for rows, draw in ((found.filled, box_fill), (found.ellipses, inscribed_ellipse)):
        rows += _baseline(case, reference, draw)


def _baseline(
    case: Golden | Case, reference: Masks, draw: Callable[[Boxes, tuple[int, int]], Masks]
) -> Iterable[MaskRow]:
    image_hw = (case.image.shape[0], case.image.shape[1])
    for index, box in enumerate(case.boxes):
        drawn = draw(box, image_hw)[None]
        row = compare_masks(case.id, case.modality, drawn, reference[index : index + 1])[0]
        yield MaskRow(row.id, row.modality, index, row.dsc, row.nsd)


def _tasks(found: _Found) -> tuple[TaskGroup, ...]:
    if not found.tasks:
        return ()
    columns = zip(groups(found.tasks), groups(found.filled), groups(found.ellipses), strict=True)
    return tuple(TaskGroup(model.modality, model, filled, ellipse) for model, filled, ellipse in columns)


def source_answer(checkpoint: str, manifest: Manifest) -> Answer:
    """Return how the source checkpoint answers a case.

    Raises:
        MissingExtraError: If PyTorch is not installed.
        UsageError: If this is not the checkpoint that the bundle was exported from.
    """
    require_extra("export")
    from ..export.demo_checkpoint import checkpoint_path
    from ..export.reference import reference_for

    return reference_for(checkpoint_path(checkpoint), manifest).answer
