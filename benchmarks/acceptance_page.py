"""The acceptance record for people: a page in Markdown that a printer takes, and a short table for the terminal.

The JSON has everything; nothing is decided here.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from ..runtime.engines.build import Engine
from ..runtime.errors import one_line
from .acceptance import NOT_RUN, PASSED, Acceptance, Device, Measurement, Verdict
from .latency import served
from .table_parts import table
from .verification import TaskGroup

if TYPE_CHECKING:
    from .accepting import Accepted

MIB = 2**20


def accept_tables(result: "Accepted") -> RenderableType:
    """Show what became of each backend, and where the record lies."""
    made = table("Acceptance", "backend", "outcome", "why")
    for verdict in result.record.verdicts:
        style = {PASSED: "green", NOT_RUN: "yellow"}.get(verdict.outcome, "bold red")
        made.add_row(one_line(verdict.backend), Text(verdict.outcome, style), one_line(verdict.reason))
    lines = [verdict_line(result.record), f"Record: {result.json_file}", f"Page: {result.page_file}"]
    return Stack(made, Text("\n".join(map(one_line, lines))))


def verdict_line(record: Acceptance) -> str:
    """Say in one sentence what the record comes to."""
    others = ", ".join(
        f"{one.backend}: {one.outcome}" for one in record.verdicts if one.backend not in record.signed_off
    )
    rest = f" {others}." if others else ""
    if record.measurement is not None and record.measurement.invalid:
        rest += f" Measurement: {record.measurement.invalid}."
    word = "PASSED" if record.passed else "FAILED"
    signed = f"Signed off for {', '.join(record.signed_off)}." if record.signed_off else "Signed off for nothing."
    return f"{word}. {signed}{rest}"


def page(record: Acceptance) -> str:
    """Write the record as a page in Markdown."""
    parts: list[Iterable[str]] = [_head(record), _device(record.device), _verdicts(record.verdicts)]
    for verdict in record.verdicts:
        if verdict.checks or verdict.engines:
            parts.append(_details(verdict))
    if record.measurement is not None:
        parts.append(_latencies(record.verdicts, record.measurement))
    parts.append(_foot(record))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(record: Acceptance) -> Iterator[str]:
    bundle = record.bundle
    yield f"# Acceptance: {_cell(bundle.model)}\n"
    yield f"**{_cell(verdict_line(record))}**\n"
    yield from _table(
        ("", ""),
        [
            ("bundle", bundle.digest),
            ("model", f"{bundle.model} ({bundle.architecture}), {'trained' if bundle.trained else 'random weights'}"),
            ("weights", bundle.weights_sha256),
            ("profile", bundle.profile),
            (
                "tried on",
                f"{bundle.golden_cases} golden cases with {bundle.golden_masks} masks of the source checkpoint",
            ),
            ("beside them", f"{bundle.phantoms} phantoms, which gate nothing"),
            ("medsam-edge", record.toolkit_version),
            ("when", record.created),
            ("record", record.digest),
        ],
    )


def _device(device: Device) -> Iterator[str]:
    gpu = device.gpu
    rows = [
        ("processor", f"{device.processor}, {device.cores} cores, {device.memory_gib} GiB"),
        ("system", f"{device.system}, Python {device.python}"),
        ("GPU", f"{gpu.name}, compute capability {gpu.capability}, driver {gpu.driver}" if gpu else device.no_gpu),
    ]
    yield "## Device\n"
    yield from _table(("", ""), rows + list(_board_rows(device)))


def _board_rows(device: Device) -> Iterator[tuple[str, str]]:
    before, after = device.before, device.after
    if before.l4t is None:
        return
    yield "Jetson", f"{before.model or 'unknown'}, L4T {before.l4t}, JetPack {before.jetpack or 'unknown'}"
    sensed = (device.sensors_before, device.sensors_after)
    yield "hottest, °C", " first, then ".join("-" if one.hottest is None else f"{one.hottest:.1f}" for one in sensed)
    yield (
        "power, mW",
        " first, then ".join(f"{one.total.name} {one.total.milliwatts:.0f}" if one.total else "-" for one in sensed),
    )
    clocks = [f"{clock.name} {clock.mhz:.0f}{' locked' if clock.locked else ''}" for clock in sensed[1].clocks]
    yield "clocks, MHz", ", ".join(clocks) or "-"
    yield "power mode", f"{before.power_mode or 'unknown'} first, {after.power_mode or 'unknown'} at last"


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield "## Backends\n"
    rows = [
        (
            verdict.backend,
            verdict.outcome,
            f"{served(verdict.served_by)} {verdict.served_by.version}" if verdict.served_by else "",
            verdict.reason,
        )
        for verdict in verdicts
    ]
    yield from _table(("backend", "outcome", "computed by", "why"), rows)


def _details(verdict: Verdict) -> Iterator[str]:
    yield f"## {_cell(verdict.backend)}\n"
    if verdict.engines:
        yield from _table(("engine", "", "sha256", "MiB", "computes in", "attention"), map(_engine, verdict.engines))
    yield from _table(
        ("check", "", "finding"),
        [(check.name, "pass" if check.passed else "FAIL", check.detail) for check in verdict.checks],
    )
    yield "Masks against the source checkpoint's:\n"
    figures = [
        (
            one.modality,
            one.dsc.n,
            *(f"{value:.5f}" for value in (one.dsc.mean, one.dsc.worst, one.nsd.mean, one.nsd.worst)),
        )
        for one in verdict.masks
    ]
    yield from _table(("modality", "n", "DSC mean", "worst", "NSD mean", "worst"), figures)
    yield from _tasks(verdict.tasks)


def _tasks(tasks: Sequence[TaskGroup]) -> Iterator[str]:
    yield "Masks against the phantoms' own; no gate, it says how good the model is:\n"
    rows = [
        (one.modality, one.model.dsc.n, *(f"{part.dsc.mean:.3f}" for part in (one.model, one.box_fill)))
        for one in tasks
    ]
    yield from _table(("modality", "n", "DSC mean", "of a filled box"), rows)


def _engine(engine: Engine) -> tuple[object, ...]:
    census = engine.facts.census
    shares = ", ".join(f"{kind} {census.share(kind):.0%}" for kind in sorted(census.operations))
    name = f"{engine.part} {engine.precision}"
    return name, engine.outcome, engine.sha256, f"{engine.bytes / MIB:.0f}", shares, engine.facts.attention


def _latencies(verdicts: Sequence[Verdict], measurement: Measurement) -> Iterator[str]:
    yield "## Latency in ms, and memory\n"
    if measurement.invalid:
        yield f"**These figures count for nothing: {_cell(measurement.invalid)}.**\n"
    rows: list[tuple[object, ...]] = []
    for verdict in verdicts:
        if (found := verdict.measured) is not None:
            rows += [
                (verdict.backend, one.stage, *map(_ms, (one.p50_ms, one.p90_ms)), one.n) for one in found.latencies
            ]
            rows.append((verdict.backend, "first mask, from the start of the process", _ms(found.first_mask_ms), "", 1))
            rows.append((verdict.backend, "peak memory in MiB", f"{found.peak_many_mib or found.peak_mib:.0f}", "", 1))
    yield from _table(("backend", "stage", "p50", "p90", "n"), rows)
    height, width = measurement.image_hw
    yield f"Image {height} x {width}, a process for each backend, by turns, after {measurement.warmup} warm-up samples;"
    yield f"many boxes are given per box. {' '.join(map(_cell, measurement.notes))}\n"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _foot(record: Acceptance) -> Iterator[str]:
    yield "## Signed\n"
    yield f"{_cell(record.signed_by)}, {record.created}" if record.signed_by else "Name, date: ______________________"
    yield "\nThis shows that the deployed model draws the source checkpoint's masks on this device. It says nothing"
    yield "about clinical use."


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _cell(value: object) -> str:
    """Keep text from outside one cell of one line: names come from bundles and drivers."""
    text = one_line(str(value))
    for char in "\\|<>*`[]":
        text = text.replace(char, f"\\{char}")
    return text
