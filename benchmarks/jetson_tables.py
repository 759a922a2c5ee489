"""The board in `doctor`, for people: what it is, how it is set, how warm it is, what it draws."""

from collections.abc import Iterator

from rich.table import Table

from ..runtime.doctor import Jetson
from ..runtime.errors import one_line
from .table_parts import table

GIB = 2**30


def jetson_tables(found: Jetson) -> Table:
    """Show a Jetson."""
    made = table("Jetson", "", "found")
    for name, value in _rows(found):
        made.add_row(name, one_line(value))
    return made


def _rows(found: Jetson) -> Iterator[tuple[str, str]]:
    board, sensed = found.board, found.sensors
    yield "model", board.model or "unknown"
    yield "system", f"L4T {board.l4t}, JetPack {board.jetpack or 'unknown'}"
    yield "power mode", board.power_mode or "unknown, ask `nvpmodel -q`"
    swap = f"{board.swap_bytes / GIB:.1f} GiB of swap"
    yield "memory", f"{board.free_bytes / GIB:.1f} of {board.memory_bytes / GIB:.1f} GiB free, {swap}"
    yield "desktop", "runs; without it about 0.5 GiB more are free" if board.desktop else "none"
    for clock in sensed.clocks:
        locked = "locked" if clock.locked else f"up to {clock.max_mhz:.0f}"
        yield clock.name, f"{clock.mhz:.0f} MHz, {locked}, {clock.governor or 'unknown governor'}"
    yield "temperatures", ", ".join(f"{name} {value:.1f} °C" for name, value in sensed.temperatures.items()) or "-"
    yield "power", ", ".join(f"{rail.name} {rail.milliwatts:.0f} mW" for rail in sensed.rails) or "no sensor"
    if sensed.total:
        yield "power in all", f"{sensed.total.milliwatts:.0f} mW, {sensed.total.name}"
    listed = ", ".join(f"Python {one.version} has TensorRT {one.tensorrt}".strip() for one in found.pythons)
    sees = "sees" if found.this_python else "does not see"
    yield "TensorRT", f"{listed or 'no Python of the system has it'}; this Python {sees} it"
    if found.remedy:
        yield "to see it", found.remedy
