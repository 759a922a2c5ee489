"""Tables of `benchmarks.roofline` for people, at most 80 columns wide. Nothing is measured here."""

from collections.abc import Iterator, Sequence
from statistics import median

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..runtime.errors import one_line
from .roofline_report import PARTS, Rate, Reached, RooflineReport, summed
from .table_parts import table

_PRECISIONS = ("int8", "bf16", "f32")


def roofline_tables(report: RooflineReport) -> RenderableType:
    """Show each encoder against its limit, what its time goes to, and the rates behind it."""
    return Stack(_limits(report), _shares(report), _rates(report), Text("\n".join(_notes(report)), "dim"))


def _limits(report: RooflineReport) -> Table:
    made = table("Encoder against its limit", "", "ms", "limit", "reached", "times f32", numbers=4)
    for one in report.encoders:
        reached = _interval(one.fraction, one.low, one.high)
        times = _interval(one.times, one.times_low, one.times_high)
        made.add_row(Text(one.precision, "bold"), f"{one.median_ms:.1f}", f"{one.limit_ms:.1f}", reached, times)
    return made


def _interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def _shares(report: RooflineReport) -> Table:
    made = table("Of its time", "", "linear layers", "attention", "all else", "bound by", numbers=4)
    for one in report.encoders:
        shares = _parts(one)
        largest = max(shares, key=lambda name: shares[name])
        made.add_row(Text(one.precision, "bold"), *(f"{share:.0%}" for share in shares.values()), largest)
    return made


def _parts(one: Reached) -> dict[str, float]:
    linear, attention = one.linear_ms / one.median_ms, one.attention_ms / one.median_ms
    return {"linear layers": linear, "attention": attention, "all else": 1 - linear - attention}


def _rates(report: RooflineReport) -> Table:
    made = table("Rates, 10^9 operations a second", "", "times", "GMAC", *_PRECISIONS, numbers=5)
    for attention in (False, True):
        rates = [one for one in report.rates if one.attention is attention]
        for one in rates:
            made.add_row(one_line(one.name), str(one.count), f"{1e-9 * one.count * one.macs:.2f}", *_gops([one]))
        if rates:
            gmac = report.attention_gmac if attention else report.linear_gmac
            name = "all attention" if attention else "all linear layers"
            made.add_row(Text(name, "bold"), "", f"{gmac:.2f}", *_gops(rates))
    return made


def _gops(rates: Sequence[Rate]) -> Iterator[str]:
    operations = 2e-6 * sum(one.count * one.macs for one in rates)
    for precision in _PRECISIONS:
        if precision in rates[0].samples_ms:
            samples = summed(rates, precision, len(rates[0].samples_ms[precision]))
            yield f"{operations / median(samples):.0f}"
        else:
            yield "-"


def _notes(report: RooflineReport) -> Iterator[str]:
    yield (
        "limit: what the encoder's products take by themselves, each as often as the encoder does it; "
        + "; ".join(f"{name}: linear {linear}, attention {attention}" for name, (linear, attention) in PARTS.items())
        + ". reached: that over the encoder's time; in brackets the 95 % interval."
    )
    yield (
        "Attention is plain, without the terms of relative positions; convolutions are products of patches. A product "
        "reads and makes numbers of its own precision."
    )
    if any(one.fraction > 1 for one in report.encoders):
        yield "Above 1: each product pays for a call of its own, and many are too short for that."
    weights = "trained" if report.trained else "random"
    yield (
        f"{report.int8_layers} of {report.layers} layers are int8 in the int8 graph. {weights.capitalize()} weights, "
        f"{one_line(report.library)}; {one_line(report.processor)}, {report.cores} cores; {report.rounds} rounds, "
        "by turns in one process."
    )
