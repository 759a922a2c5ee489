"""The `bench` verb: candidates measured against each other in one interleaved run, each in a process of its own.

Start all, take turns, compare masks, report. It puts the pieces together and knows none of them from inside.
"""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from ..runtime.bundle import Bundle
from ..runtime.doctor import require_extra
from ..runtime.errors import UsageError
from ..runtime.files import temporary_folder
from ..runtime.golden import Golden
from ..runtime.machine import processor_name
from ..runtime.manifest import Model
from ..runtime.metrics import summarise
from ..runtime.state import brief
from ..runtime.types import Progress
from .candidates import NO_TUNING, Candidate, Role, against_candidates, bundle_candidates, has_glibc, torch_candidates
from .cases import golden_of
from .child import Child
from .latency import STAGES, BenchReport, CandidateReport, Latency, MachineRate, Operations, many_stage, served
from .operations import operations_of
from .ratios import efficiency, memory_shares, ratios
from .rounds import Machine, Plan, Schedule, Turns, opened, opened_machine, take_turns
from .weights import write_weights
from .worker.gemm import GEMM
from .worker.messages import Agreement, Request
from .worker.samples import write_samples

_LIMITING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OV_NUM_THREADS")


def bench(
    bundle: Bundle,
    backends: Sequence[str],
    plan: Plan = Plan(),  # noqa: B008 - frozen
    baseline: bool = False,
    source: str | None = None,
    against: Sequence[Bundle] = (),
    progress: Progress = lambda _what, _done, _all: None,
    engines: Path | None = None,
) -> BenchReport:
    """Measure a bundle's backends against each other, and against what they are meant to replace.

    Args:
        bundle: The opened bundle; its golden cases of one size are the images.
        backends: Names as `load` takes them.
        plan: How much is measured.
        baseline: Whether PyTorch, as the authors run it, takes part.
        source: The checkpoint for it, where the bundle's weights are not known otherwise.
        against: Other bundles of the same checkpoint and profile, whose backends take part.
        progress: Told what goes on, the rounds done and how many there are.
        engines: The folder of this device's TensorRT engines, where it is not the usual one.

    Raises:
        UsageError: If the checkpoint or a bundle does not fit the first bundle.
        MissingExtraError: If a backend, or what the baseline needs, is not installed.
        BundleError: As `load`.
        BackendError, DeviceMemoryError, MeasurementError: If a candidate's process dies or answers nonsense.
    """
    golden = golden_of(bundle)
    operations, notes = _counted(bundle.manifest.model) if plan.machine else (None, ())
    own = bundle_candidates(bundle, backends, engines=engines)
    candidates = [*own, *against_candidates(bundle, against, backends)]
    with temporary_folder() as folder:
        candidates += _baselines(folder, bundle, baseline, source, progress)
        samples = str(write_samples(folder / "samples.npz", golden))
        timed = [index for index, case in enumerate(golden) if case.image.shape == golden[0].image.shape]
        run = _run(candidates, samples, timed, plan, progress)
    notes += (NO_TUNING,) if baseline and not has_glibc() else ()
    return _report(bundle, golden[0], plan, run, operations, notes)


def _counted(model: Model) -> tuple[Operations | None, tuple[str, ...]]:
    """Count operations, before minutes are spent that a failure would lose."""
    try:
        return operations_of(model), ()
    except Exception as error:  # a PyTorch that does not load, say: latencies can be measured all the same
        return None, (f"Operations were not counted: {brief(error)}.",)


@dataclass(frozen=True)
class _Run:
    schedule: Schedule
    rows: tuple[CandidateReport, ...]
    machine: MachineRate | None
    restless: tuple[str, ...]


def _run(candidates: Sequence[Candidate], samples: str, timed: Sequence[int], plan: Plan, progress: Progress) -> _Run:
    begin = perf_counter()
    with ExitStack() as stack:
        everyone = [_opened(one, stack, samples, progress) for one in candidates]
        machine = _machine(stack, candidates) if plan.machine else None
        schedule = take_turns(everyone, machine, timed, plan, perf_counter() - begin, progress)
        rows = tuple(_row(turns, schedule, plan, progress) for turns in everyone)
    restless = tuple(row.name for row, turns in zip(rows, everyone, strict=True) if not turns.quiet)
    return _Run(schedule, rows, _rate(machine, schedule), restless)


def _baselines(folder: Path, bundle: Bundle, baseline: bool, source: str | None, progress: Progress) -> list[Candidate]:
    if not baseline:
        if source is not None:
            raise UsageError("a baseline to run the checkpoint with", "--source alone", "add --baseline torch")
        return []
    require_extra("export")
    require_extra("baseline")
    progress("weights for PyTorch", 0, 1)
    return torch_candidates(write_weights(folder / "weights.pth", source, bundle.manifest), bundle)


def _opened(candidate: Candidate, stack: ExitStack, samples: str, progress: Progress) -> Turns:
    who = " ".join(word for word in (candidate.name, candidate.opening.backend) if word)
    progress(f"starting {who}", 0, 1)
    return opened(candidate, lambda: stack.enter_context(Child(who, candidate.env)), samples)


def _machine(stack: ExitStack, candidates: Iterable[Candidate]) -> Machine:
    library = "torch" if any(one.role is Role.BASELINE for one in candidates) else "numpy"
    return opened_machine(lambda: stack.enter_context(Child("the matrix product")), library)


def _row(turns: Turns, schedule: Schedule, plan: Plan, progress: Progress) -> CandidateReport:
    candidate = turns.candidate
    name = candidate.name
    if candidate.role is not Role.BASELINE:
        name = f"{name}: {served(turns.served_by)}" if name else served(turns.served_by)
    progress(f"masks of {name}", 0, 1)
    return CandidateReport(
        name=name,
        short=candidate.short,
        role=candidate.role.value,
        bundle=candidate.bundle,
        served_by=turns.served_by,
        latencies=tuple(_latencies(turns, schedule, plan)),
        ready_ms=turns.ready_ms,
        first_mask_ms=turns.first_mask_ms,
        peak_mib=turns.peak_mib,
        peak_many_mib=turns.peak_many_mib,
        parity=summarise(turns.child.ask(Request("agreement"), Agreement).dsc),
    )


def _latencies(turns: Turns, schedule: Schedule, plan: Plan) -> Iterator[Latency]:
    columns = (
        [one.preprocess_ms for one in turns.one],
        [one.encode_ms for one in turns.one],
        [one.decode_ms for one in turns.one],
        [one.postprocess_ms for one in turns.one],
        [one.total_ms for one in turns.one],
    )
    for stage, values in zip(STAGES, columns, strict=True):
        yield _latency(stage, values, schedule)
    if plan.boxes:
        yield _latency(many_stage(plan.boxes), turns.many, schedule)


def _latency(stage: str, values: Sequence[float], schedule: Schedule) -> Latency:
    first = len(values) - schedule.rounds
    return Latency(stage, tuple(values[first:]), tuple(values[:first]))


def _rate(machine: Machine | None, schedule: Schedule) -> MachineRate | None:
    if machine is None:
        return None
    taken, first = machine.samples_ms, len(machine.samples_ms) - schedule.rounds
    return MachineRate(machine.library, GEMM, tuple(taken[first:]), tuple(taken[:first]))


def _report(
    bundle: Bundle, case: Golden, plan: Plan, run: _Run, operations: Operations | None, notes: tuple[str, ...]
) -> BenchReport:
    restless = (f"{name} kept computing while others were measured." for name in run.restless)
    return BenchReport(
        bundle=str(bundle.root),
        digest=bundle.manifest.digest,
        trained=bundle.manifest.model.trained,
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        environment={name: os.environ[name] for name in _LIMITING if name in os.environ},
        rounds=run.schedule.rounds,
        warmup=run.schedule.warmup + 1,
        image_hw=(case.image.shape[0], case.image.shape[1]),
        boxes=plan.boxes,
        candidates=run.rows,
        ratios=tuple(ratios(run.rows)),
        machine=run.machine,
        operations=operations,
        efficiency=tuple(efficiency(row, plan.boxes, operations, run.machine) for row in run.rows),
        memory=tuple(memory_shares(run.rows)),
        notes=(*restless, *notes),
    )
