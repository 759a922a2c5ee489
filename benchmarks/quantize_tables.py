"""Tables of `quantize` for people, at most 80 columns wide. The JSON has everything; nothing is computed here."""

from collections.abc import Iterable, Iterator

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..calibration.outcome import Candidate, Outcome
from ..calibration.scores import LOW
from ..runtime.errors import one_line
from .drawing import Picture
from .front import base_ms, front, precision_name
from .front_text import FrontText
from .table_parts import table

_BLOCKS = 8
"""Most sensitive blocks that are shown; the JSON has all."""


def quantize_tables(outcome: Outcome, picture: Picture | None = None) -> RenderableType:
    """Show every candidate, the front, what masks lose by modality, and how blocks and ranges were chosen."""
    parts: list[RenderableType] = [candidates_table(outcome), Text("\n".join(_verdict(outcome)) + "\n")]
    parts += [FrontText(front(outcome)), Text(_picture(picture))]
    if any(one.drop for one in outcome.candidates):
        parts.append(modalities_table(outcome.candidates))
    if outcome.recipes:
        parts += [recipes_table(outcome), _sensitivities(outcome)]
    return Stack(*parts, Text("\n".join(_notes(outcome)), "dim"))


def candidates_table(outcome: Outcome) -> Table:
    """Show every candidate: latency, what masks lose, the sizes of file and process."""
    made = table(
        f"Encoders for {one_line(outcome.target)}",
        "", "ms", "times", "DSC\ndrop", "\nbound", "\np5", f"\n< {LOW}", "file\nMB", "memory\nMB", numbers=8,
    )  # fmt: skip
    base = base_ms(outcome.candidates)
    for place, one in enumerate(outcome.candidates):
        name = Text(precision_name(one), "bold" if one.chosen else "")
        made.add_row(name, *_speed(one, None if place else base), *_drop(one), *_sizes(one))
    return made


def _sizes(one: Candidate) -> tuple[str, str]:
    return f"{one.bytes / 1e6:.0f}", "-" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.0f}"


def _picture(picture: Picture | None) -> str:
    if picture is None or (picture.path is None and picture.error is None):
        return ""
    return f"Picture: {picture.path}\n" if picture.error is None else f"No picture: {picture.error}\n"


def _speed(one: Candidate, base: float | None) -> tuple[str, str]:
    if one.speed is None:
        return "-" if base is None else f"{base:.0f}", "-"
    return f"{one.speed.median_ms:.0f}", f"{one.speed.times:.2f}"


def _drop(one: Candidate) -> tuple[str, str, str, str]:
    if one.drop is None:
        return "-", "-", "-", "-"
    drop = one.drop
    return f"{drop.mean_drop:.4f}", f"{drop.drop_bound:.4f}", f"{drop.p5_parity:.3f}", str(drop.low)


def _verdict(outcome: Outcome) -> Iterator[str]:
    if outcome.reused:
        yield "The bundle holds this result already; nothing was done."
    if outcome.chosen:
        yield f"Chosen: {one_line(outcome.chosen)}. Use it with --backend {one_line(outcome.chosen)}."
    else:
        yield "Nothing cheaper was kept; the bundle is as it was."
    yield from objections(outcome)
    if not outcome.gating:
        yield "Random weights: latency only; what their masks lose says nothing."


def objections(outcome: Outcome) -> Iterator[str]:
    """Say of each candidate what speaks against it, a sentence each."""
    for one in outcome.candidates:
        for objection in one.objections:
            yield f"{one_line(one.backend)}: {one_line(objection)}."


def modalities_table(candidates: Iterable[Candidate]) -> Table:
    """Show what the masks of each candidate lose, modality by modality."""
    made = table("What masks lose, by modality", "", "modality", "masks", "DSC drop", "DSC with float32", numbers=3)
    for one in candidates:
        for place, group in enumerate(one.drop.modalities if one.drop else ()):
            head = Text(one_line(one.backend) if not place else "", "bold")
            made.add_row(
                head,
                one_line(group.modality),
                str(group.masks),
                f"{group.mean_drop:+.4f}",
                f"{group.mean_parity:.4f}",
            )
    return made


def recipes_table(outcome: Outcome) -> Table:
    """Show every way to choose ranges that was tried."""
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
    yield from legend(outcome)
    yield from (f"Warning: {one_line(text)}." for text in outcome.warnings)
    yield from map(one_line, outcome.notes)


def legend(outcome: Outcome) -> Iterator[str]:
    """Explain the columns of `candidates_table`."""
    against = {one.speed.against for one in outcome.candidates if one.speed}
    if against:
        yield (
            "times: as fast as the fastest wider one, encoders by turns in one process; below "
            f"{outcome.margin} a candidate is not kept."
        )
    yield (
        "DSC drop: of the reference mask, float32's less the candidate's; bound: its one-sided 95 % bound "
        f"(limit {outcome.limits.mean_drop}; worst modality {outcome.limits.worst_drop}). p5: 5th percentile of DSC "
        f"with the float32 masks; < {LOW}: how many lie below."
    )
    if any(one.memory_bytes for one in outcome.candidates):
        yield "memory: the most that a process with this encoder, the decoder and one image holds."
