"""Tables of `build` for people; apart from the others, which are many."""

from collections.abc import Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from ..runtime.engines.build import Engine
from ..runtime.errors import one_line
from .building import Built, LayerTime
from .table_parts import table
from .tables import checks_tables, verify_tables

MIB = 2**20


def build_tables(result: Built) -> RenderableType:
    """Show the engines, what proves their precision, and what they drew."""
    made = result.build
    shown = table(
        f"{made.backend} {made.version}", "part", "engine", "MiB", "s", "computes in", "attention", "memory MiB"
    )
    for engine in made.engines:
        shown.add_row(*map(one_line, _row(engine)))
    parts: list[RenderableType] = [shown, Text(one_line(f"Kept in {made.state}, for {_device(made.device)}."))]
    if result.verification is None:
        parts.append(Text(f"Masks: not run, {result.not_run}.", "yellow"))
        return Stack(*parts)
    if result.layers:
        parts.append(Text(one_line(_slowest(result.layers))))
    checks = {"every profile": result.consistency}
    return Stack(*parts, checks_tables("Self-consistency", checks), verify_tables(result.verification))


def _slowest(layers: Sequence[LayerTime]) -> str:
    total = sum(layer.ms for layer in layers)
    first = sorted(layers, key=lambda layer: -layer.ms)[:3]
    named = ", ".join(f"{layer.name[:60]} {layer.ms:.2f}" for layer in first)
    return f"Encoder under the profiler: {len(layers)} layers, {total:.2f} ms; the slowest: {named}."


def _row(engine: Engine) -> tuple[str, ...]:
    facts = engine.facts
    shares = ", ".join(f"{kind} {facts.census.share(kind):.0%}" for kind in sorted(facts.census.operations))
    memory = "/".join(f"{count / MIB:.0f}" for count in facts.activation_bytes) or "unknown"
    outcome = f"{engine.outcome} because {engine.reason}" if engine.reason else engine.outcome
    return (
        f"{engine.part} {engine.precision}",
        outcome,
        f"{engine.bytes / MIB:.0f}",
        f"{facts.seconds:.0f}",
        shares,
        facts.attention,
        memory,
    )


def _device(facts: dict[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
