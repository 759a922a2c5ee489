"""Many boxes on one embedding: one by one, in chunks, all at once. Time as ratios of one interleaved run, and memory.

    python -m medsam_edge.benchmarks.chunks BUNDLE CASE.npz

Why the host splits boxes into chunks: one by one costs time, all at once costs memory that grows with their number.
"""

import resource
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer

from ..runtime.cases import read_case
from ..runtime.loading import load
from ..runtime.predictor import MAX_BOXES
from ..runtime.types import Case


@dataclass(frozen=True)
class ChunkRow:
    """One chunk size: seconds of each round, and by how much the process's peak memory grew when it was first used."""

    max_boxes: int
    seconds: tuple[float, ...]
    growth_mib: float


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    case: Annotated[Path, typer.Argument(help="A challenge .npz with many boxes.")],
    rounds: Annotated[int, typer.Option(min=1)] = 20,
    backend: Annotated[str, typer.Option(help="One at a time: the peak of a process never falls again.")] = "auto",
) -> None:
    """Print one line for each chunk size."""
    read = read_case(case)
    rows = measure(bundle, backend, read, (1, MAX_BOXES, len(read.boxes)), rounds)
    singly = np.median(rows[0].seconds)
    for row in rows:
        middle = float(np.median(row.seconds))
        print(
            f"{len(read.boxes)} boxes, {row.max_boxes} per call: {middle * 1e3:.0f} ms, "
            f"{middle / singly:.2f} of one by one, peak memory +{row.growth_mib:.0f} MiB, n {rounds}"
        )


def measure(bundle: Path, backend: str, case: Case, sizes: Sequence[int], rounds: int) -> tuple[ChunkRow, ...]:
    """Measure decoding and mask drawing; the encoder runs once for each chunk size, outside the clock.

    Args:
        bundle: The bundle's folder.
        backend: As `load` takes it.
        case: Its boxes are predicted.
        sizes: Boxes per decoder call, ascending: peak memory never falls, so a larger one must come later.
        rounds: Timed rounds; each runs every size once.
    """
    with ExitStack() as stack:
        predictors = [stack.enter_context(load(bundle, backend, max_boxes=size)) for size in sizes]
        embeddings = [predictor.embed(case.image) for predictor in predictors]
        growths: list[float] = []
        seconds: list[list[float]] = [[] for _ in sizes]
        for predictor, embedding in zip(predictors, embeddings, strict=True):
            before = _peak_mib()
            predictor.predict(embedding, case.boxes)
            growths.append(_peak_mib() - before)
        for _ in range(rounds):
            for taken, predictor, embedding in zip(seconds, predictors, embeddings, strict=True):
                start = perf_counter()
                predictor.predict(embedding, case.boxes)
                taken.append(perf_counter() - start)
    return tuple(ChunkRow(*row) for row in zip(sizes, map(tuple, seconds), growths, strict=True))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    typer.run(main)
