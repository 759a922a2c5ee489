"""Tables of `bench` for people, at most 80 columns wide. The JSON has everything; nothing is computed here."""

from collections.abc import Iterator, Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..runtime.errors import one_line
from .latency import BenchReport, CandidateReport, Latency, MachineRate, MemoryShare, Ratio
from .table_parts import table

_LIBRARIES = {"torch": "PyTorch", "numpy": "NumPy"}
_REFERENCES = 2  # columns of ratios that fit beside each other


def bench_tables(report: BenchReport) -> RenderableType:
    """Show everything: latency, ratios, start and memory, and how near the machine's limit it is."""
    parts = (*_ratio_tables(report), _start_table(report), *_machine_parts(report))
    return Stack(latency_table(report), Text(""), *parts)


def latency_table(report: BenchReport) -> RenderableType:
    """Show latency and parity side by side, and on what they were measured."""
    made = table("Latency in ms, one box", "", "p50", "p90", "p99", "n", "DSC parity", numbers=5)
    for one in report.candidates:
        parity = f"{one.parity.mean:.5f}" if report.trained else "latency only"
        made.add_row(Text(one_line(one.name), "bold"), "", "", "", "", parity)
        for latency in one.latencies:
            made.add_row(f"  {latency.stage}", *_figures(latency), str(latency.n))
    return Stack(made, Text("\n".join(_notes(report)), "dim"))


def _figures(latency: Latency) -> Iterator[str]:
    for value in (latency.p50_ms, latency.p90_ms, latency.p99_ms):
        yield "-" if value is None else f"{value:.2f}"


def _notes(report: BenchReport) -> Iterator[str]:
    height, width = report.image_hw
    many = f" `decode {report.boxes} boxes` is per box." if report.boxes else ""
    yield (
        f"{one_line(report.processor)}, {report.cores} cores; image {height} x {width}; a process for each, "
        f"interleaved, {report.warmup} warm-up samples apart.{many} A percentile without enough samples is not printed."
    )
    if report.environment:
        limits = ", ".join(f"{name}={value}" for name, value in report.environment.items())
        yield f"Threads are limited by {one_line(limits)}."
    yield from map(one_line, report.notes)


def _ratio_tables(report: BenchReport) -> Iterator[RenderableType]:
    heads = {one.name: one.short for one in report.candidates}
    for own in report.candidates:
        found = [ratio for ratio in report.ratios if ratio.candidate == own.name]
        names = list(dict.fromkeys(ratio.reference for ratio in found))
        for first in range(0, len(names), _REFERENCES):
            yield _ratio_table(own, found, {name: heads[name] for name in names[first : first + _REFERENCES]})
    if report.ratios:
        yield Text("Times as fast: the other's median over its own; in brackets the 95 % interval.\n", "dim")


def _ratio_table(own: CandidateReport, found: Sequence[Ratio], heads: dict[str, str]) -> Table:
    columns = [f"vs {one_line(head)}" for head in heads.values()]
    made = table(f"{one_line(own.name)}: times as fast", "stage", *columns, numbers=len(columns))
    for column in made.columns[1:]:
        column.no_wrap = False  # the name of a folder may be long
    cells = {(ratio.stage, ratio.reference): _ratio(ratio) for ratio in found}
    for latency in own.latencies:
        made.add_row(latency.stage, *(cells.get((latency.stage, name), "-") for name in heads))
    return made


def _ratio(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _start_table(report: BenchReport) -> Table:
    title, shares, share = "Start in ms, peak memory in MiB", report.memory or (None,) * len(report.candidates), []
    if report.memory:
        title, share = f"{title}, share of {report.memory[0].reference}'s", ["share"]
    many = [f"{report.boxes} boxes", *share] if report.boxes else []
    heads = ("ready", "first mask", "one box", *share, *many)
    made = table(title, "", *heads, numbers=len(heads))
    for one, held in zip(report.candidates, shares, strict=True):
        made.add_row(one_line(one.name), *_start_figures(one, held))
    return made


def _start_figures(one: CandidateReport, share: MemoryShare | None) -> Iterator[str]:
    for value in (one.ready_ms, one.first_mask_ms, one.peak_mib):
        yield f"{value:.0f}"
    if share is not None:
        yield f"{share.one_box:.0%}"
    if one.peak_many_mib is not None:
        yield f"{one.peak_many_mib:.0f}"
        if share is not None:
            yield "-" if share.many_boxes is None else f"{share.many_boxes:.0%}"


def _machine_parts(report: BenchReport) -> Iterator[RenderableType]:
    if report.operations is None and not report.boxes:
        return
    made = table("Use of the machine", "", "encoder GFLOP/s", "of the product's", "one of many boxes", numbers=3)
    for one in report.efficiency:
        rate = "-" if one.encoder_gflops is None else f"{one.encoder_gflops:.1f}"
        share = "-" if one.encoder_share is None else f"{one.encoder_share:.0%}"
        box = "-" if one.per_box_ratio is None else f"{one.per_box_ratio:.2f}"
        made.add_row(one_line(one.name), rate, share, box)
    yield made
    yield Text("\n".join(_explained(report)), "dim")
    if report.machine is not None and report.machine.unsteady:
        yield Text(_drifted(report.machine), "yellow")


def _explained(report: BenchReport) -> Iterator[str]:
    if report.machine is not None:
        rows, inner, columns = report.machine.sizes
        library = _LIBRARIES.get(report.machine.library, report.machine.library)
        drift = "" if report.machine.drift is None else f", drift {report.machine.drift:+.1%}"
        yield f"Product: float32 {rows} x {inner} x {columns} in {library}, {report.machine.gflops:.0f} GFLOP/s{drift}."
    if report.operations is not None:
        counts = f"{report.operations.encoder_gmac:.1f} GMAC, decoder {report.operations.decoder_gmac:.2f} GMAC a box"
        yield f"Operations of the plain form: encoder {counts}; 1 GMAC is 2 GFLOP."
    if report.boxes:
        yield f"One of many boxes: its time among {report.boxes} in one go, over that of a box alone."


def _drifted(machine: MachineRate) -> str:
    return (
        f"The machine's own speed changed by {machine.drift:+.0%} from the first third of the rounds to the last: "
        "trust the ratios, not the milliseconds, or run it again on a quiet machine."
    )
