"""The four layers of verification: tensor, mask, task, self-consistency, for one bundle on one or more backends.

The first and the last need only the bundle. The mask layer uses the bundle's golden cases, or any cases where the
source checkpoint is at hand to answer them; the task layer needs reference masks. It decides nothing but pass or
fail against stated limits, and prints nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..runtime.boxes import box_fill, inscribed_ellipse
from ..runtime.bundle import Bundle
from ..runtime.doctor import require_extra
from ..runtime.errors import ParityError
from ..runtime.golden import Golden
from ..runtime.loading import load
from ..runtime.manifest import Manifest
from ..runtime.parity import (
    Answered,
    Check,
    Group,
    Limits,
    MaskRow,
    TensorRow,
    compare_golden,
    compare_masks,
    groups,
    iou_check,
    mask_check,
    self_consistency,
    tensor_check,
)
from ..runtime.predictor import Predictor, ServedBy
from ..runtime.types import Boxes, Case, Masks, Progress
from .cases import golden_of

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
    """All findings on one backend. `mask_cases` says what the mask layer was measured on; `passed` follows."""

    served_by: ServedBy
    checks: tuple[Check, ...]
    mask_cases: str
    masks: tuple[Group, ...]
    tasks: tuple[TaskGroup, ...]
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", all(check.passed for check in self.checks))


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of `verify`. `gating` is False for random weights: their parity proves nothing, `passed` or not."""

    bundle: str
    digest: str
    gating: bool
    limits: Limits
    backends: tuple[BackendReport, ...]
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", all(report.passed for report in self.backends))


@dataclass
class _Trial:
    """One backend under test, and the rows found so far."""

    predictor: Predictor
    golden: int  # how many cases come first whose answers the consistency checks are made of
    tensors: list[TensorRow] = field(default_factory=list)
    masks: list[MaskRow] = field(default_factory=list)
    tasks: list[MaskRow] = field(default_factory=list)
    filled: list[MaskRow] = field(default_factory=list)
    ellipses: list[MaskRow] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    failure: ParityError | None = None  # no usable answer; the other backends are still tried


def verify(
    bundle: Bundle,
    backends: Sequence[str],
    cases: Sequence[Case] = (),
    answer: Answer | None = None,
    progress: Progress = lambda _name, _done, _all: None,
    state: Path | None = None,
    limits: Limits | None = None,
) -> VerifyReport:
    """Verify a bundle.

    Args:
        bundle: The opened bundle.
        backends: Names as `load` takes them.
        cases: Cases for the task layer in place of the golden ones and, with `answer`, for the tensor and mask
            layers beside them.
        answer: The source checkpoint's answer to a case, where it is at hand. It then answers the golden cases anew
            too: what the bundle says of its source is not taken on trust.
        progress: Told the case, the cases done, and how many there are.
        state: The folder of this device's engines, where it is not the usual one.
        limits: What is held against the findings, where it is not what a float32 graph must reach.

    Raises:
        BundleError, MissingExtraError: As `load`.
    """
    golden = golden_of(bundle)
    with ExitStack() as stack:
        opened = (stack.enter_context(load(bundle, name, state=state, unjudged=True)) for name in backends)
        trials = [_Trial(one, len(golden)) for one in opened]
        everything: list[Golden | Case] = [*golden, *cases]
        for done, case in enumerate(everything):
            progress(case.id, done, len(everything))
            # The source is slow: it answers a case once, for all backends.
            asked = answer(_unanswered(case)) if answer else case
            for trial in trials:
                _judge(trial, asked, as_task=not (cases and isinstance(case, Golden)))
        limits, about = limits or Limits(), _mask_cases(golden, cases, answer)
        reports = tuple(_report(trial, about, limits) for trial in trials)
    manifest = bundle.manifest
    return VerifyReport(str(bundle.root), manifest.digest, manifest.model.trained, limits, reports)


def _unanswered(case: Golden | Case) -> Case:
    if isinstance(case, Case):
        return case
    return Case(case.id, case.image, case.boxes, case.reference, case.modality, case.id)


def _report(trial: _Trial, mask_cases: str, limits: Limits) -> BackendReport:
    checks = tuple(_checks(trial, limits))
    return BackendReport(trial.predictor.served_by, checks, mask_cases, _groups(trial.masks), _tasks(trial))


def _checks(trial: _Trial, limits: Limits) -> Iterator[Check]:
    if trial.tensors:
        yield tensor_check(trial.tensors, limits)
        yield iou_check(trial.tensors, limits)
        yield mask_check(trial.masks, limits)
    try:
        if trial.failure is not None:
            raise trial.failure
        yield from self_consistency(trial.predictor, trial.answered, limits)
    except ParityError as error:
        yield Check("usable answers", False, error.found)


def _groups(rows: Sequence[MaskRow]) -> tuple[Group, ...]:
    return groups(rows) if rows else ()


def _mask_cases(golden: Sequence[Golden], cases: Sequence[Case], answer: Answer | None) -> str:
    if answer is None:
        return f"{len(golden)} golden cases"
    return f"{len(golden) + len(cases)} cases answered by the source checkpoint"


def _judge(trial: _Trial, case: Golden | Case, as_task: bool) -> None:
    if trial.failure is not None:
        return
    try:
        masks = _masks(trial, case)
    except ParityError as error:
        trial.failure = error
        return
    reference = case.reference if isinstance(case, Golden) else case.masks
    if reference is None or not as_task:
        return
    trial.tasks += compare_masks(case.id, case.modality, masks, reference)
    trial.filled += _baseline(case, reference, box_fill)
    trial.ellipses += _baseline(case, reference, inscribed_ellipse)


def _masks(trial: _Trial, case: Golden | Case) -> Masks:
    if isinstance(case, Case):
        return trial.predictor.segment(case.image, case.boxes).masks
    rows = compare_golden(trial.predictor, case)
    trial.tensors.append(rows.tensor)
    trial.masks += rows.masks
    if len(trial.answered) < trial.golden:
        trial.answered.append(rows.answered)
    return rows.answered.prediction.masks


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
