"""From the start of a process to its first mask, with and without a state folder. Fresh processes, in turn.

    python -m medsam_edge.benchmarks.start BUNDLE --backend openvino

The bundle's files are in the system's file cache: a start after a cold boot waits for the disk too, and with a state
folder it reads half as much. The state folder is a temporary one.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ..runtime.bundle import open_bundle
from ..runtime.errors import BundleError, MeasurementError, MedSAMEdgeError
from ..runtime.files import explained, temporary_folder
from ..runtime.golden import Golden
from ..runtime.processes import environment, not_started
from ..runtime.schema import from_json
from .cases import golden_of
from .console import explain, say, standard_output
from .table_parts import table

COMMAND = (sys.executable, "-m", "medsam_edge.benchmarks.start_child")


@dataclass(frozen=True)
class Start:
    """One process: seconds from its start, and the most memory that it had held by then.

    Attributes:
        ready_s: Until `load` had returned.
        first_mask_s: The same, plus its first `segment`; reading the image is left out.
        ready_mib: Peak resident memory when ready.
        peak_mib: Peak resident memory after the first mask.
        cache: How each part was opened.
        masks: SHA-256 of the masks' bytes.
    """

    ready_s: float
    first_mask_s: float
    ready_mib: float
    peak_mib: float
    cache: dict[str, str]
    masks: str


@dataclass(frozen=True)
class StartRow:
    """Starts of one kind, in the order in which they were made; the medians follow from them."""

    name: str
    starts: tuple[Start, ...]
    ready_s: float = field(init=False)
    first_mask_s: float = field(init=False)
    ready_mib: float = field(init=False)
    peak_mib: float = field(init=False)

    def __post_init__(self) -> None:
        for name in ("ready_s", "first_mask_s", "ready_mib", "peak_mib"):
            object.__setattr__(self, name, median(getattr(start, name) for start in self.starts))


@dataclass(frozen=True)
class StartReport:
    """What was measured: `built` is the one start that filled the state folder."""

    built: StartRow
    without: StartRow
    reused: StartRow


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    backend: Annotated[str, typer.Option(help="As `load` takes it.")] = "openvino",
    rounds: Annotated[int, typer.Option(min=1, help="Each starts one process without and one with the folder.")] = 5,
) -> None:
    """Print a table of medians."""
    try:
        report = measure(bundle, backend, rounds, say)
        with standard_output():
            Console(markup=False).print(start_table(report))
    except MedSAMEdgeError as error:
        explain(error, as_json=False)
        raise typer.Exit(error.exit_code) from None


def measure(bundle: Path, backend: str, rounds: int, tell: Callable[[str], None] = lambda _: None) -> StartReport:
    """Start a process that fills a state folder, then processes without and with it by turns.

    Raises:
        BundleError: If the bundle has no golden case, or is none.
        StorageError: If the golden case cannot be written for the processes to read.
        MachineError: If a process cannot be started.
        MeasurementError: If a process failed, answered nonsense, did not reuse what was kept, or drew other masks.
    """
    case = golden_of(open_bundle(bundle))[0]
    with temporary_folder() as folder:
        words = [str(bundle), backend, str(_written(case, folder / "case.npz"))]
        with_state = [*words, str(folder / "state")]
        tell("the first start, which fills the state folder")
        built = (_start(with_state),)
        pairs = []
        for done in range(rounds):
            tell(f"round {done + 1} of {rounds}")
            pairs.append((_start(words), _start(with_state)))
    without, reused = (tuple(row) for row in zip(*pairs, strict=True))
    _check(reused, [*built, *without, *reused])
    return StartReport(*map(StartRow, ("state, first", "no state", "state"), (built, without, reused)))


def start_table(report: StartReport) -> Table:
    """Show the medians, and ratios to the start without a state folder."""
    base, count = report.without, len(report.without.starts)
    title = f"Start of a process, medians of {count}"
    made = table(title, "", "ready s", "ratio", "first mask s", "ratio", "ready MiB", "peak MiB", numbers=6)
    for row in (report.without, report.reused, report.built):
        ready = (f"{row.ready_s:.2f}", f"{row.ready_s / base.ready_s:.2f}")
        mask = (f"{row.first_mask_s:.2f}", f"{row.first_mask_s / base.first_mask_s:.2f}")
        made.add_row(row.name, *ready, *mask, f"{row.ready_mib:.0f}", f"{row.peak_mib:.0f}")
    return made


def _written(case: Golden, path: Path) -> Path:
    with explained("a temporary file that can be written", path):
        np.savez(path, image=case.image, boxes=case.boxes[:1])
    return path


def _start(words: Sequence[str]) -> Start:
    program = [*COMMAND, str(time.monotonic()), *words]
    try:
        done = subprocess.run(
            program, capture_output=True, check=False, env=environment({}), encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise not_started("a start", program, error) from error
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise MeasurementError("a process that draws a mask", last, "mend that, then measure again")
    return _answer(done.stdout)


def _answer(text: str) -> Start:
    try:
        return from_json(Start, json.loads(text), "start")
    except (ValueError, BundleError) as error:  # a library may print among it
        remedy = "mend what prints there, then measure again"
        raise MeasurementError("one JSON object from a started process", repr(text.strip()[:100]), remedy) from error


def _check(reused: Sequence[Start], everyone: Sequence[Start]) -> None:
    opened = {str(status) for start in reused for status in start.cache.values()}
    if opened != {"reused"}:
        remedy = "free the disk, or name a backend that keeps compiled models, such as openvino"
        raise MeasurementError("compiled models that are used again", "; ".join(sorted(opened)), remedy)
    if len({start.masks for start in everyone}) != 1:
        raise MeasurementError("the same masks from every start", "others", "run `medsam-edge verify` on the bundle")


if __name__ == "__main__":
    typer.run(main)
