"""The `accept` verb: try a bundle on the device that will run it, and write one record of whether it may.

What is missing is built, the bundle's golden cases are drawn and held against the source checkpoint's masks, phantoms
are drawn beside them, and what passed is measured. It needs neither PyTorch nor ONNX: images and the source's masks
travel in the bundle. One backend that fails does not keep the others from being tried.
"""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from medsam_edge import __version__

from ..runtime.backends.base import TENSORRT, BackendChoice, choice_from_text
from ..runtime.backends.choose import available, resolve
from ..runtime.bundle import Bundle, open_bundle
from ..runtime.engines.board import Board, board
from ..runtime.engines.build import Engine, Planned, Request, build_engines, plan
from ..runtime.engines.gpu import Gpu, gpu
from ..runtime.engines.identity import FLAVOURS, choice_of, default_state, find_engine, read_engine
from ..runtime.engines.options import PRECISIONS
from ..runtime.engines.sensors import Sensors, sensors
from ..runtime.engines.system_files import SystemFiles
from ..runtime.errors import BundleError, DriverError, EngineError, ExitCode, MedSAMEdgeError, one_line
from ..runtime.files import make_folder, write_together
from ..runtime.machine import memory_gib, processor_name
from ..runtime.parity import HALF, Check, Limits
from ..runtime.profile import Profile
from ..runtime.state import StateFolder, brief
from .acceptance import (
    FAILED,
    LATENCY_ONLY,
    NOT_RUN,
    PASSED,
    SCHEMA,
    Acceptance,
    Device,
    Measured,
    Measurement,
    Subject,
    Verdict,
    decide,
    encode,
    seal,
)
from .acceptance_page import page
from .bench import bench
from .building import PHANTOMS, consistency
from .cases import golden_of, phantom_cases
from .console import Report, Say
from .latency import CandidateReport
from .rounds import Plan
from .verification import verify

BOXES = 16
RECORD, PAGE = "acceptance.json", "acceptance.md"


@dataclass(frozen=True)
class Accepted:
    """The record, and the two files that it went into."""

    record: Acceptance
    json_file: Path
    page_file: Path


@dataclass(frozen=True)
class Terms:
    """What a person asked for.

    Attributes:
        backends: Names as `load` takes them; None for all that could run here, and TensorRT.
        state: The device's folder of engines; None for the usual place.
        rounds: Timed rounds, or None for about five minutes of them.
        signed_by: Who signs.
    """

    backends: Sequence[str] | None = None
    state: Path | None = None
    rounds: int | None = None
    signed_by: str = ""


def accept(path: Path, out: Path, terms: Terms, report: Report, say: Say) -> Accepted:
    """Try a bundle on this device, and write the record, whatever it says.

    Args:
        path: The bundle.
        out: Folder for the record and its page; both are replaced where they are there.
        terms: What was asked for.
        report: Told of progress.
        say: Told of each step.

    Raises:
        UsageError: A backend's name means nothing.
        BundleError: The bundle is damaged, or carries too few golden cases.
        StorageError: The record cannot be written.
    """
    bundle = open_bundle(path)
    subject, choices = _subject(bundle), chosen(bundle, terms.backends)
    make_folder(out)  # before minutes are spent
    before, warm = board(), sensors(SystemFiles())
    state = terms.state or default_state()
    verdicts = [_tried(bundle, choice, terms.backends is not None, state, report, say) for choice in choices]
    verdicts, measurement = _measured(bundle, verdicts, terms, state, report, say)
    device = _device(before, warm)
    if measurement is not None and before.power_mode != device.after.power_mode:
        modes = f"the power mode was {before.power_mode} first and {device.after.power_mode} at last"
        measurement = replace(measurement, invalid=modes, exit_code=int(ExitCode.MEASUREMENT))
    signed, code = decide(verdicts, measurement)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record = Acceptance(
        SCHEMA, __version__, created, one_line(terms.signed_by), subject, device, tuple(verdicts), measurement, signed,
        passed=code == ExitCode.OK, exit_code=code, digest="",
    )  # fmt: skip
    return _written(seal(record), out)


def chosen(bundle: Bundle, names: Sequence[str] | None) -> list[BackendChoice]:
    """Return the backends to try, each once.

    Raises:
        UsageError: A name means nothing.
    """
    if names:
        return list(dict.fromkeys(choice_from_text(name) for name in names))
    engines = [choice_of(precision, "enterprise") for precision in _engine_precisions(bundle)]
    return [*map(choice_from_text, available()), *(engines or [choice_from_text("tensorrt")])]


def _engine_precisions(bundle: Bundle) -> list[str]:
    """The precisions that a bundle has graphs for TensorRT in; float32 only where it has no cheaper one."""
    found = []
    for precision in PRECISIONS:
        with suppress(BundleError):
            if "tensorrt" in bundle.entry("encoder", precision, "tensorrt").targets:
                found.append(precision)
    return [one for one in found if one != "fp32"] or found


def _tried(bundle: Bundle, choice: BackendChoice, required: bool, state: Path, report: Report, say: Say) -> Verdict:
    name = str(choice)
    say(f"trying {name}")
    try:
        _check_ready(bundle, choice)
    except MedSAMEdgeError as error:
        return Verdict(name, required, NOT_RUN, brief(error), int(error.exit_code))
    try:
        return _judged(bundle, choice, required, state, report, say)
    except MedSAMEdgeError as error:
        return Verdict(name, required, FAILED, brief(error), int(error.exit_code))


def _check_ready(bundle: Bundle, choice: BackendChoice) -> None:
    """Find out what keeps a backend from being tried at all, before anything is drawn.

    Raises:
        MedSAMEdgeError: There is no GPU, no library, or no graph for it.
    """
    if choice.name in TENSORRT:
        gpu()
    resolve(str(choice))
    if choice.name in TENSORRT:
        plan(bundle, _request(choice))


def _request(choice: BackendChoice) -> Request:
    return Request(choice.graph, FLAVOURS[choice.name])


def _judged(bundle: Bundle, choice: BackendChoice, required: bool, state: Path, report: Report, say: Say) -> Verdict:
    name, limits = str(choice), Limits() if (choice.graph, choice.precision) == ("fp32", "f32") else HALF
    engines, sizes = _engines(bundle, choice, state, report, say), tuple[Check, ...]()
    if engines:
        sizes = consistency(bundle, name, engines[-1].facts.buckets, state, limits)
    folder = state if engines else None
    found = verify(bundle, [name], phantom_cases(PHANTOMS), progress=report, state=folder, limits=limits)
    (drawn,) = found.backends
    checks = (*drawn.checks, *sizes)
    failed = ", ".join(check.name for check in checks if not check.passed)
    outcome, reason = PASSED, ""
    if failed:
        outcome, reason = FAILED, f"failed: {failed}"
    elif not found.gating:
        outcome, reason = LATENCY_ONLY, "random weights prove nothing about masks"
    code = ExitCode.OK if outcome == PASSED else ExitCode.PARITY
    return Verdict(
        name, required, outcome, reason, int(code), drawn.served_by, engines, limits, checks, drawn.masks, drawn.tasks
    )


def _engines(bundle: Bundle, choice: BackendChoice, state: Path, report: Report, say: Say) -> tuple[Engine, ...]:
    """This device's engines of the bundle: those that are there, however they were built, or new ones."""
    if choice.name not in TENSORRT:
        return ()
    request, folder = _request(choice), StateFolder(state)
    with suppress(EngineError):
        return tuple(_kept(folder, one) for one in plan(bundle, request)[0])
    return build_engines(bundle, request, state, report, say).engines


def _kept(folder: StateFolder, planned: Planned) -> Engine:
    entry = find_engine(folder, planned.source, planned.choice)
    facts, _ = read_engine(folder, entry)
    return Engine(planned.entry.part, planned.entry.precision, "reused", "", entry.sha256, entry.bytes, facts)


def _measured(
    bundle: Bundle, verdicts: list[Verdict], terms: Terms, state: Path, report: Report, say: Say
) -> tuple[list[Verdict], Measurement | None]:
    """Measure what drew the right masks; the rest is not worth a figure."""
    ran = [one for one in verdicts if one.outcome in (PASSED, LATENCY_ONLY)]
    if not ran:
        return verdicts, None
    say("measuring " + ", ".join(one.backend for one in ran))
    names = [one.backend for one in ran]
    try:
        found = bench(bundle, names, Plan(terms.rounds, BOXES, machine=False), progress=report, engines=state)
    except MedSAMEdgeError as error:
        return verdicts, Measurement(0, 0, (0, 0), BOXES, {}, (), brief(error), int(error.exit_code))
    rows = dict(zip(names, found.candidates, strict=True))
    measurement = Measurement(
        found.rounds, found.warmup, found.image_hw, found.boxes, dict(found.environment), found.notes, "", 0
    )
    return [replace(one, measured=_figures(rows.get(one.backend))) for one in verdicts], measurement


def _figures(row: CandidateReport | None) -> Measured | None:
    if row is None:
        return None
    return Measured(row.latencies, row.ready_ms, row.first_mask_ms, row.peak_mib, row.peak_many_mib)


def _device(before: Board, sensed: Sensors) -> Device:
    found, no_gpu = _gpu()
    return Device(
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        memory_gib=round(memory_gib(), 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        gpu=found,
        no_gpu=no_gpu,
        before=before,
        after=board(),
        sensors_before=sensed,
        sensors_after=sensors(SystemFiles()),
    )


def _gpu() -> tuple[Gpu | None, str]:
    try:
        return gpu(), ""
    except DriverError as error:
        return None, error.found


def _subject(bundle: Bundle) -> Subject:
    golden, manifest = golden_of(bundle), bundle.manifest
    return Subject(
        model=manifest.model.name,
        architecture=manifest.model.architecture,
        profile=Profile.from_dict(manifest.profile).name,
        trained=manifest.model.trained,
        weights_sha256=manifest.model.weights_sha256,
        digest=manifest.digest,
        golden_cases=len(golden),
        golden_masks=sum(len(case.boxes) for case in golden),
        phantoms=PHANTOMS,
    )


def _written(record: Acceptance, out: Path) -> Accepted:
    """Write the record and its page together, so that they never belong to different runs."""
    made = Accepted(record, out / RECORD, out / PAGE)
    write_together({made.json_file: encode(record), made.page_file: page(record).encode("utf-8")})
    return made
