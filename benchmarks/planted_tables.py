"""Tables of `benchmarks.planted` for people, at most 80 columns wide. Nothing is computed here."""

from collections.abc import Iterator

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..runtime.errors import one_line
from .planted_report import PlantedReport
from .table_parts import table

_SHOWN = 5
"""Blocks alone that are shown; the JSON has all."""


def planted_tables(report: PlantedReport) -> RenderableType:
    """Show every place of every graph, the blocks that do most harm alone, and what was planted."""
    return Stack(_places(report), _alone(report), Text("\n".join(_notes(report)), "dim"))


def _places(report: PlantedReport) -> Table:
    heads = [column.head for column in report.columns]
    made = table("Cosine with float32, mean over images", "int8:", *heads, numbers=len(heads))
    for rows in zip(*(column.places for column in report.columns), strict=True):
        made.add_row(one_line(rows[0].name), *(f"{place.mean:.5f}" for place in rows))
    made.add_row("MB", *(f"{column.bytes / 1e6:.0f}" for column in report.columns))
    return made


def _alone(report: PlantedReport) -> Table:
    made = table("Embedding, int8 in one block alone, first image", "block", "cosine with float32", numbers=1)
    for one in report.alone[:_SHOWN]:
        made.add_row(one_line(one.block), f"{one.cosine:.5f}")
    return made


def _notes(report: PlantedReport) -> Iterator[str]:
    planted, where = report.outliers, "every block"
    if planted.blocks:
        where = f"block {', '.join(map(str, planted.blocks))}"
    yield (
        f"Planted in {where}: {planted.channels} channels {planted.factor:g} times as large before attn.qkv and "
        f"mlp.lin1, and before attn.proj. Float32 stays: the lowest cosine of any block is {report.unchanged:.6f}."
    )
    for column in report.columns:
        if column.kept_float:
            yield f"{column.head}: {column.recipe}; in float {', '.join(map(one_line, column.kept_float))}."
    weights = "trained" if report.trained else "random"
    yield (
        f"{report.images} phantoms, {weights} weights, {one_line(report.backend)}; {one_line(report.processor)}, "
        f"{report.cores} cores; peak memory {report.peak_mib:.0f} MiB, {report.seconds:.0f} s."
    )
