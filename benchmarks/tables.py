"""Tables for people, at most 80 columns wide. Every table has a JSON twin; nothing is computed here."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..calibration.document import Calibration
from ..runtime.bundle import Bundle
from ..runtime.doctor import Diagnosis
from ..runtime.errors import one_line
from ..runtime.parity import Check, Group
from ..runtime.profile import Profile
from ..runtime.segmentation import Written
from ..runtime.stored import BundleState
from ..runtime.volumes.files import WrittenVolume
from .bench_tables import latency_table
from .calibration_tables import calibration_tables
from .jetson_tables import jetson_tables
from .latency import served
from .table_parts import table
from .verification import BackendReport, TaskGroup, VerifyReport

if TYPE_CHECKING:  # they need PyTorch, and the tables of all other verbs must not
    from ..export.pipeline import ExportResult
    from .demo import DemoResult

_COMMAND_WIDTH = 40
LATENCY_ONLY = "random weights: latency only, parity proves nothing and passes no gate"


def checks_tables(title: str, found: Mapping[str, Iterable[Check]], gating: bool = True) -> RenderableType:
    """Show the checks of each backend in a table of its own; where they gate nothing, none is called a pass."""
    return Stack(*(_checks_table(f"{title}: {backend}", checks, gating) for backend, checks in found.items()))


def export_tables(result: "ExportResult") -> RenderableType:
    """Show what was checked before the bundle was written, and what the export cost."""
    memory = "" if result.peak_mib is None else f", peak memory {result.peak_mib:.0f} MiB"
    checks = checks_tables(f"{result.bundle} written", result.parity, result.manifest.model.trained)
    return Stack(checks, Text(f"Took {result.seconds:.1f} s{memory}."))


def verify_tables(report: VerifyReport) -> RenderableType:
    """Show the four layers."""
    parts: list[RenderableType] = [] if report.gating else [Text(LATENCY_ONLY, "yellow")]
    found = {served(one.served_by): one.checks for one in report.backends}
    parts.append(checks_tables("Same model", found, report.gating))
    parts += [_mask_table(one) for one in report.backends if one.masks]
    parts += [_task_table(one) for one in report.backends if one.tasks]
    if any(one.tasks for one in report.backends):
        parts.append(Text("No gate: it says how good the model is, not whether the bundle is still the model.", "dim"))
    return Stack(*parts)


def written_lines(results: Iterable[Written | WrittenVolume]) -> str:
    """Show what `segment` wrote: a line about each image, a line for each file, never broken inside a path."""
    lines = []
    for one in results:
        name, files = _name_and_files(one)
        if not one.served_by.trained:
            lines.append(f"{name}: RANDOM WEIGHTS, this mask means nothing")
        lines.append(f"{name}: {_count(one)}, {one.total_ms:.0f} ms")
        if isinstance(one, WrittenVolume):
            lines.append(f"  {_how(one)}")
        lines += [f"  {path}" for path in files if path]
    return "\n".join(lines)


def _name_and_files(one: Written | WrittenVolume) -> tuple[str, tuple[str | None, ...]]:
    if isinstance(one, WrittenVolume):
        return one.volume, (one.overlay, one.labels, one.report)
    return one.image, (one.overlay, one.labels, one.report, one.segs, one.dicom_seg)


def _how(one: WrittenVolume) -> str:
    """What was decided for a volume, that a person may want otherwise."""
    window = f", window {one.window.name}: {one.window.low:g} to {one.window.high:g}" if one.window else ""
    resumed = f", {one.visits_resumed} visits taken up from a journal" if one.visits_resumed else ""
    return f"{one.slicing} slices, {one.slices_encoded} encoded, boxes as {one.convention}{window}{resumed}"


def _count(one: Written | WrittenVolume) -> str:
    boxes = "1 box" if one.objects == 1 else f"{one.objects} boxes"
    if not one.empty:
        return boxes
    return f"{boxes}, {len(one.empty)} with an EMPTY mask: {', '.join(map(str, one.empty))}"


def inspect_tables(bundle: Bundle, found: Iterable[Calibration] = ()) -> RenderableType:
    """Show a bundle's identity, profile, files, and what `quantize` recorded in it."""
    manifest = bundle.manifest
    facts = table(f"Bundle {bundle.root}", "", "")
    weights = "trained" if manifest.model.trained else LATENCY_ONLY
    contract = Profile.from_dict(manifest.profile)
    profile = ", ".join(f"{key} {value}" for key, value in contract.to_dict().items() if key != "name")
    for name, value in (
        ("model", f"{manifest.model.name} ({manifest.model.architecture}), {weights}"),
        ("source", f"{manifest.model.source_file}, weights {manifest.model.weights_sha256[:16]}…"),
        ("profile", f"{contract.name}: {profile}"),
        ("made", f"{manifest.created} by medsam-edge {manifest.toolkit_version}"),
        ("digest", manifest.digest),
    ):
        facts.add_row(name, one_line(value))
    return Stack(facts, _files_table(bundle), *map(calibration_tables, found))


def state_tables(found: BundleState, calibrations: Iterable[Calibration] = ()) -> RenderableType:
    """Show a bundle, and what a state folder holds for it."""
    made = table(f"Compiled models in {found.state}", "part", "for", "sha256", "next start", "MB", numbers=1)
    for blob in found.blobs:
        threads = f", {blob.threads} threads" if blob.threads else ""
        chosen = f"{blob.backend} {blob.device} {blob.precision}{threads}"
        fate = "reuses it" if blob.reusable else f"rebuilds it: {blob.reason}"
        made.add_row(one_line(blob.part), one_line(chosen), blob.sha256[:16], one_line(fate), _megabytes(blob.bytes))
    none = "" if found.blobs else "nothing for this bundle yet"
    notes = [Text(one_line(note), "yellow") for note in (found.problem, none) if note]
    return Stack(inspect_tables(Bundle(found.root, found.manifest), calibrations), made, *notes)


def doctor_tables(found: Diagnosis) -> RenderableType:
    """Show what is here and what to type for the rest."""
    head = Text(
        f"{found.processor} ({', '.join(found.features) or 'no vector extensions'}), {found.memory_gib} GiB, "
        f"{found.system}, Python {found.python}"
    )
    made = table("What is here", "", "found", "to install it")
    driver = f"{found.gpu.name}, compute {found.gpu.capability}, CUDA {found.gpu.driver}" if found.gpu else found.no_gpu
    made.add_row("driver", one_line(driver) or "-", "")
    for backend in found.backends:
        here = f"{backend.version}: {', '.join(backend.devices)}" if backend.version else "-"
        made.add_row(f"backend {backend.name}", here, backend.missing or "")
    for extra in found.extras:
        made.add_row(f"extra {extra.name}", ", ".join(extra.present) or "-", extra.missing or "")
    remedies = [backend.missing or "" for backend in found.backends] + [extra.missing or "" for extra in found.extras]
    # A command in two halves cannot be copied; why a backend is broken may be long, and has to wrap.
    made.columns[-1].no_wrap = max(map(len, remedies), default=0) <= _COMMAND_WIDTH
    return Stack(head, made, *([jetson_tables(found.jetson)] if found.jetson else []))


def _checks_table(title: str, checks: Iterable[Check], gating: bool) -> Table:
    made = table(title, "check", "", "finding")
    accepted = Text("pass", "green") if gating else Text("latency only", "yellow")
    for check in checks:
        verdict = accepted if check.passed else Text("FAIL", "bold red")
        made.add_row(check.name, verdict, one_line(check.detail))
    return made


def _mask_table(report: BackendReport) -> Table:
    made = table(
        f"Masks against the source's: {served(report.served_by)}, {report.mask_cases}",
        "modality", "n", "DSC mean", "p5", "worst", "NSD mean", "worst", numbers=6,
    )  # fmt: skip
    for group in report.masks:
        made.add_row(one_line(group.modality), *_figures(group))
    return made


def _figures(group: Group) -> tuple[str, ...]:
    dsc, nsd = group.dsc, group.nsd
    return (
        str(dsc.n),
        f"{dsc.mean:.5f}",
        f"{dsc.p05:.5f}",
        f"{dsc.worst:.5f}",
        f"{nsd.mean:.5f}",
        f"{nsd.worst:.5f}",
    )


def _task_table(report: BackendReport) -> Table:
    made = table(
        f"Masks against the reference masks: {served(report.served_by)}",
        "modality", "n", "DSC", "worst", "NSD", "box filled", "ellipse", numbers=6,
    )  # fmt: skip
    for group in report.tasks:
        made.add_row(one_line(group.modality), *_task_figures(group))
    return made


def _task_figures(group: TaskGroup) -> tuple[str, ...]:
    model = group.model
    means = (group.box_fill.dsc.mean, group.ellipse.dsc.mean)
    own = (model.dsc.mean, model.dsc.worst, model.nsd.mean)
    return (str(model.dsc.n), *(f"{value:.3f}" for value in (*own, *means)))


def _files_table(bundle: Bundle) -> Table:
    made = table("Files", "kind", "what", "sha256", "MB", numbers=1)
    for graph in bundle.manifest.graphs:
        what = one_line(f"{graph.part} {graph.precision} {graph.form}")
        made.add_row("graph", what, graph.sha256[:16], _megabytes(graph.bytes))
        for weights in graph.weights:
            made.add_row("weights", what, weights.sha256[:16], _megabytes(weights.bytes))
    for kind, entries in (("golden", bundle.manifest.golden), ("record", bundle.manifest.records)):
        for entry in entries:
            made.add_row(kind, one_line(entry.name), entry.sha256[:16], _megabytes(entry.bytes))
    return made


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


def demo_tables(result: "DemoResult") -> RenderableType:
    """Show the demo's one table and what it wrote."""
    verified = "the bundle draws the checkpoint's masks" if result.verification.passed else "PARITY FAILED, see verify"
    written = table("Written", "", "")
    for name, path in (
        ("bundle", result.bundle),
        ("overlay", result.segmented.overlay),
        ("label map", result.segmented.labels),
        ("report", result.segmented.report),
    ):
        written.add_row(name, path)
    return Stack(Text(f"Verified: {verified}"), latency_table(result.benchmark), written)
