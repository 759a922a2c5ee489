"""Tables of `inspect` for what `quantize` left in a bundle, at most 80 columns wide. The JSON has everything."""

from collections.abc import Iterable, Iterator

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..calibration.case_record import CasesSummary
from ..calibration.document import Calibration, Document
from ..calibration.outcome import LayerDecision, Outcome
from ..runtime.errors import one_line
from .quantize_tables import candidates_table, legend, limits_table, modalities_table, objections, recipes_table
from .table_parts import table

_CHOICES = 8
"""Refused choices of blocks that are shown; the JSON has all."""


def calibration_tables(found: Calibration) -> RenderableType:
    """Show one record: what was chosen and why, on which cases, with what; or why it cannot be shown."""
    if found.record is None:
        return Text(f"{one_line(found.kind)}: not shown: {one_line(found.problem)}. --json has it whole.\n", "yellow")
    outcome = found.record.outcome
    parts: list[RenderableType] = [_facts(found.record, found.cases), _cases(found.cases), candidates_table(outcome)]
    if refused := "\n".join(objections(outcome)):
        parts.append(Text(f"{refused}\n"))
    parts += [limits_table(outcome)] if any(one.drop for one in outcome.candidates) else []
    chosen = [one for one in outcome.candidates if one.chosen and one.drop]
    parts += [modalities_table(chosen)] if chosen else []
    parts += [recipes_table(outcome)] if outcome.recipes else []
    parts += [_blocks(outcome)] if outcome.layers else []
    parts += [_choices(outcome)] if any(one.objections for one in outcome.tried) else []
    return Stack(*parts, Text("\n".join(_notes(outcome)), "dim"))


def _facts(record: Document, cases: Iterable[CasesSummary]) -> Table:
    made = table(f"Calibration for {one_line(record.outcome.target)}", "", "")
    outcome = record.outcome
    versions = (f"{name} {version}" for name, version in record.libraries.items())
    features = ", ".join(record.features) or "no vector extensions"
    for name, value in (
        ("chosen", outcome.chosen or "nothing"),
        ("method", _method(outcome)),
        ("limits", _limits(outcome)),
        ("made by", f"medsam-edge {record.toolkit_version}; {', '.join(versions)}"),
        ("made on", f"{record.processor}, {record.cpus} CPUs ({features})"),
        ("inputs", f"sha256 {record.key_sha256[:16]}…, seed {', '.join(sorted({str(one.seed) for one in cases}))}"),
    ):
        made.add_row(name, one_line(value))
    return made


def _method(outcome: Outcome) -> str:
    made = sorted((one for one in outcome.candidates if one.recipe), key=lambda one: not one.chosen)
    if not made:
        return "no int8 was asked for"
    what = "int8, attention too" if made[0].attention else "int8"
    return f"{what}, ranges by {made[0].recipe}; blocks kept in float: {', '.join(made[0].kept_float) or 'none'}"


def _limits(outcome: Outcome) -> str:
    if not outcome.gating:
        return "none: random weights, latency only"
    limits = outcome.limits
    return f"mean DSC drop {limits.mean_drop} (bound), worst modality {limits.worst_drop}; margin {outcome.margin}"


def _cases(sets: Iterable[CasesSummary]) -> Table:
    made = table("Cases", "set", "source", "modalities", "hash of images", "cases", "patients", numbers=2)
    for one in sets:
        modalities = ", ".join(f"{name} {count}" for name, count in one.modalities)
        words = map(one_line, (one.purpose, one.source, modalities, f"{one.digest[:12]}…"))
        made.add_row(*words, str(one.cases), str(one.patients))
    return made


def _blocks(outcome: Outcome) -> Table:
    """Give each block a row, in the graph's order, with the scale of each of its layers."""
    lost = {one.block: one for one in outcome.sensitivities}
    made = table("Layers in int8, with the scale of their input", "block", "layers", "DSC lost", "DSC drop", numbers=2)
    for block in dict.fromkeys(layer.block for layer in outcome.layers):
        layers = ", ".join(_layer(layer) for layer in outcome.layers if layer.block == block)
        found = lost.get(block)
        figures = (f"{found.lost_parity:.5f}", f"{found.mean_drop:+.5f}") if found else ("-", "-")
        made.add_row(one_line(block), one_line(layers), *figures)
    return made


def _layer(layer: LayerDecision) -> str:
    name = layer.layer.removeprefix(layer.block).lstrip(".")
    scale = "float" if layer.scale is None else f"{layer.scale:.3g}"
    return f"{name}: {scale}" if name else scale


def _choices(outcome: Outcome) -> Table:
    refused = [one for one in outcome.tried if one.objections]
    made = table(f"Choices of blocks that were refused: {len(refused)}", "kept in float", "why")
    for one in refused[:_CHOICES]:
        made.add_row(one_line(", ".join(one.kept_float) or "none"), one_line("; ".join(one.objections)))
    if len(refused) > _CHOICES:
        made.add_row("…", f"{len(refused) - _CHOICES} more, see --json")
    return made


def _notes(outcome: Outcome) -> Iterator[str]:
    yield from legend(outcome)
    if outcome.layers:
        yield "DSC lost, DSC drop of a block: of float32's masks, of the reference, by int8 in this block alone."
    yield from (f"Warning: {one_line(text)}." for text in outcome.warnings)
    yield from map(one_line, outcome.notes)
