"""The four layers of verification: tensor, mask, task, self-consistency, for one bundle on one or more backends.

The first and the last need only the bundle. The mask layer uses the bundle's golden cases, or any cases where the
source checkpoint is at hand to answer them; the task layer needs reference masks. It decides nothing but pass or
fail against stated limits, and prints nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from ..runtime.boxes import box_fill, inscribed_ellipse
from ..runtime.bundle import Bundle
from ..runtime.doctor import require_extra
from ..runtime.golden import Golden
from ..runtime.manifest import Manifest
from ..runtime.parity import (
    Check,
    Group,
    Limits,
    MaskRow,
    TensorRow,
    compare_masks,
    compare_tensors,
    groups,
    mask_check,
    self_consistency,
    tensor_check,
)
from ..runtime.predictor import Predictor, ServedBy, load
from ..runtime.types import Boxes, Case, Masks
from .cases import golden_of

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
class _Trial:
    """One backend under test, and the rows found so far."""

    predictor: Predictor
    tensors: list[TensorRow] = field(default_factory=list)
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
        cases: Cases for the task layer in place of the golden ones and, with `answer`, for the tensor and mask
            layers beside them.
        answer: The source checkpoint's answer to a case, where it is at hand.
        progress: Told the case, the cases done, and how many there are.

    Raises:
        BundleError, MissingExtraError: As `load`.
    """
    golden = golden_of(bundle)
    with ExitStack() as stack:
        trials = [_Trial(stack.enter_context(load(bundle, name))) for name in backends]
        everything: list[Golden | Case] = [*golden, *cases]
        for done, case in enumerate(everything):
            progress(case.id, done, len(everything))
            # The source is slow: it answers a case once, for all backends.
            asked = answer(case) if answer and isinstance(case, Case) else case
            for trial in trials:
                _judge(trial, asked, as_task=not (cases and isinstance(case, Golden)))
        limits, about = Limits(), _mask_cases(golden, cases, answer)
        reports = tuple(_report(trial, golden, about, limits) for trial in trials)
    manifest = bundle.manifest
    return VerifyReport(str(bundle.root), manifest.digest, manifest.model.trained, limits, reports)


def _report(trial: _Trial, golden: Sequence[Golden], mask_cases: str, limits: Limits) -> BackendReport:
    checks = (
        tensor_check(trial.tensors, limits),
        mask_check(trial.masks, limits),
        *self_consistency(trial.predictor, [(case.image, case.boxes) for case in golden], limits),
    )
    return BackendReport(trial.predictor.served_by, checks, mask_cases, groups(trial.masks), _tasks(trial))


def _mask_cases(golden: Sequence[Golden], cases: Sequence[Case], answer: Answer | None) -> str:
    more = f" and {len(cases)} cases answered by the source checkpoint" if answer and cases else ""
    return f"{len(golden)} golden cases{more}"


def _judge(trial: _Trial, case: Golden | Case, as_task: bool) -> None:
    embedding = trial.predictor.embed(case.image)
    masks = trial.predictor.predict(embedding, case.boxes).masks
    if isinstance(case, Golden):
        trial.tensors.append(compare_tensors(case, embedding.tensor.numpy()))
        trial.masks += compare_masks(case.id, case.modality, masks, case.masks)
    reference = case.reference if isinstance(case, Golden) else case.masks
    if reference is None or not as_task:
        return
    trial.tasks += compare_masks(case.id, case.modality, masks, reference)
    trial.filled += _baseline(case, reference, box_fill)
    trial.ellipses += _baseline(case, reference, inscribed_ellipse)


def _baseline(
    case: Golden | Case, reference: Masks, draw: Callable[[Boxes, tuple[int, int]], Masks]
) -> Iterable[MaskRow]:
    image_hw = (case.image.shape[0], case.image.shape[1])
    for index, box in enumerate(case.boxes):
        drawn = draw(box, image_hw)[None]
        row = compare_masks(case.id, case.modality, drawn, reference[index : index + 1])[0]
        yield MaskRow(row.id, row.modality, index, row.dsc, row.nsd)


def _tasks(trial: _Trial) -> tuple[TaskGroup, ...]:
    if not trial.tasks:
        return ()
    columns = zip(groups(trial.tasks), groups(trial.filled), groups(trial.ellipses), strict=True)
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
