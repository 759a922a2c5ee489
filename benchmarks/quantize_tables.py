"""Tables of `quantize` for people, at most 80 columns wide. The JSON has everything; nothing is computed here."""

from collections.abc import Iterator

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..calibration.outcome import Candidate, Outcome
from ..calibration.scores import LOW, Drop, Group, surely_lost
from ..runtime.backends.base import choice_from_text
from ..runtime.errors import one_line
from .table_parts import table

_BLOCKS = 8
"""Most sensitive blocks that are shown; the JSON has all."""


def quantize_tables(outcome: Outcome) -> RenderableType:
    """Show every candidate, what its masks lose by modality, and how blocks and ranges were chosen."""
    parts: list[RenderableType] = [_candidates(outcome), Text("\n".join(_verdict(outcome)) + "\n")]
    if any(one.drop for one in outcome.candidates):
        parts += [_limits(outcome), _modalities(outcome)]
    if outcome.recipes:
        parts += [_recipes(outcome), _sensitivities(outcome)]
    return Stack(*parts, Text("\n".join(_notes(outcome)), "dim"))


def _candidates(outcome: Outcome) -> Table:
    columns = ("ms", "beside it", "times", "DSC drop", "p5", f"< {LOW}", "MB")
    made = table(f"Encoders for {outcome.target}", "", *columns, numbers=7)
    for one in outcome.candidates:
        name = Text(_short(one.backend), "bold" if one.chosen else "")
        made.add_row(name, *_speed(one), *_drop(one), f"{one.bytes / 1e6:.0f}")
    return made


def _speed(one: Candidate) -> tuple[str, str, str]:
    taken = "-" if one.median_ms is None else f"{one.median_ms:.0f}"
    if one.speed is None:
        return taken, "-", "-"
    return taken, f"{one.speed.against_ms:.0f} {_short(one.speed.against)}", f"{one.speed.times:.2f}"


def _short(backend: str) -> str:
    """The precision alone: "openvino:CPU:int8+bf16" is "int8+bf16"."""
    return one_line(choice_from_text(backend).label)


def _drop(one: Candidate) -> tuple[str, str, str]:
    if one.drop is None:
        return "-", "-", "-"
    return f"{one.drop.mean_drop:.4f}", f"{one.drop.p5_parity:.3f}", f"{one.drop.low} of {one.drop.masks}"


def _verdict(outcome: Outcome) -> Iterator[str]:
    if outcome.reused:
        yield "The same was asked before; nothing was done."
    if outcome.chosen:
        yield f"Chosen: {one_line(outcome.chosen)}. Use it with --backend {one_line(outcome.chosen)}."
    else:
        yield "Nothing cheaper was kept; the bundle is as it was."
    if outcome.reused and not outcome.chosen:
        yield "To judge and time again, remove the journal (BUNDLE.work, or what --work names)."
    for one in outcome.candidates:
        for objection in one.objections:
            yield f"{one_line(one.backend)}: {one_line(objection)}."
    if not outcome.gating:
        yield "Random weights: latency only; what their masks lose says nothing."


def _limits(outcome: Outcome) -> Table:
    columns = ("mean drop", "worst modality", "p5", f"share < {LOW}")
    made = table("Held against the limits: 95 % bounds", "", *columns, numbers=4)
    for one in outcome.candidates:
        if one.drop is not None:
            made.add_row(Text(_short(one.backend), "bold" if one.chosen else ""), *_held(one.drop))
    limits = outcome.limits
    made.add_row("limit", *_figures(limits.mean_drop, f"{limits.worst_drop:.4f}", limits.p5_parity, limits.low_share))
    return made


def _held(drop: Drop) -> Iterator[str]:
    sure = drop.bounds or drop
    worst = max(drop.modalities, key=surely_lost)
    named = f"{one_line(worst.modality)} {surely_lost(worst):.4f}"
    return _figures(sure.mean_drop, named, sure.p5_parity, sure.low_share)


def _figures(mean: float, worst: str, tail: float, low: float) -> Iterator[str]:
    yield from (f"{mean:.4f}", worst, f"{tail:.3f}", f"{low:.2%}")


def _bound(group: Group) -> str:
    return "none" if group.drop_bound is None else f"{group.drop_bound:.4f}"


def _modalities(outcome: Outcome) -> Table:
    columns = ("modality", "patients", "masks", "DSC drop", "bound", "DSC with f32")
    made = table("What masks lose, by modality", "", *columns, numbers=5)
    for one in outcome.candidates:
        for place, group in enumerate(one.drop.modalities if one.drop else ()):
            made.add_row(
                Text(_short(one.backend) if not place else "", "bold"),
                one_line(group.modality),
                str(group.patients),
                str(group.masks),
                f"{group.mean_drop:+.4f}",
                _bound(group),
                f"{group.mean_parity:.4f}",
            )
    return made


def _recipes(outcome: Outcome) -> Table:
    made = table("Ranges, all blocks in int8, selection cases", "", "DSC with float32", "DSC drop", numbers=2)
    for row in outcome.recipes:
        if row.mean_parity is None or row.mean_drop is None:
            made.add_row(row.recipe, one_line(row.objection), "-")
        else:
            made.add_row(row.recipe, f"{row.mean_parity:.5f}", f"{row.mean_drop:+.5f}")
    return made


def _sensitivities(outcome: Outcome) -> Table:
    made = table("Blocks by what int8 in each alone does", "", "DSC lost of float32's", "DSC drop", "kept", numbers=3)
    kept = {block for one in outcome.candidates for block in one.kept_float}
    for one in outcome.sensitivities[:_BLOCKS]:
        word = "float" if one.block in kept else "int8"
        made.add_row(one_line(one.block), f"{one.lost_parity:.5f}", f"{one.mean_drop:+.5f}", word)
    return made


def _notes(outcome: Outcome) -> Iterator[str]:
    if any(one.speed for one in outcome.candidates):
        yield (
            "times: as fast as the fastest wider one, which ran beside it by turns in one process; below "
            f"{outcome.margin} a candidate is not kept. f32 itself: of the first such run."
        )
    yield (
        "DSC drop: of the reference mask, float32's less the candidate's. p5: 5th percentile of DSC with the float32 "
        f"masks; < {LOW}: how many lie below. A bound is the far end of a one-sided 95 % interval, patients drawn with "
        "replacement; the figure itself where there are too few of them."
    )
    yield from (f"Warning: {one_line(text)}." for text in outcome.warnings)
    yield from (f"Note: {one_line(text)}." for text in outcome.notes)
    yield f"Peak memory of the process: {outcome.peak_mib:.0f} MiB."
