"""Latency of a bundle on each backend, in one interleaved run, with the accuracy in the same result.

Backends take turns (A B A B …), so that a machine that slows down slows all of them down and ratios survive. Warm-up
rounds are timed and kept apart. Every raw sample is kept: summaries can be made again, samples cannot.
"""

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from ..runtime.bundle import Bundle
from ..runtime.golden import Golden
from ..runtime.loading import load
from ..runtime.machine import processor_name
from ..runtime.metrics import Summary, summarise
from ..runtime.parity import compare_masks
from ..runtime.predictor import Predictor, ServedBy, Timings
from .cases import golden_of

STAGES = ("encode", "decode one box", "end to end")
# A percentile is printed only where at least one sample lies beyond it.
_LEAST_SAMPLES = {50: 1, 90: 10, 99: 100}


@dataclass(frozen=True)
class Latency:
    """Samples of one stage on one backend, in milliseconds, in the order in which they were taken.

    Percentiles and `n` follow from the samples; None where the samples are too few to support a percentile.
    """

    stage: str
    samples_ms: tuple[float, ...]
    warmup_ms: tuple[float, ...]
    n: int = field(init=False)
    p50_ms: float | None = field(init=False)
    p90_ms: float | None = field(init=False)
    p99_ms: float | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", len(self.samples_ms))
        for percent, least in _LEAST_SAMPLES.items():
            value = float(np.percentile(self.samples_ms, percent)) if self.n >= least else None
            object.__setattr__(self, f"p{percent}_ms", value)


@dataclass(frozen=True)
class BackendLatency:
    """One backend's latencies, and the DSC of its masks with the source checkpoint's."""

    served_by: ServedBy
    latencies: tuple[Latency, ...]
    parity: Summary


@dataclass(frozen=True)
class BenchReport:
    """The outcome of `bench`: what was measured, on what, and how."""

    bundle: str
    digest: str
    trained: bool
    processor: str
    cores: int
    system: str
    rounds: int
    warmup: int
    image_hw: tuple[int, int]
    backends: tuple[BackendLatency, ...]


def bench(
    bundle: Bundle,
    backends: Sequence[str],
    rounds: int = 100,
    warmup: int = 5,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> BenchReport:
    """Measure encoder, decoder (one box) and end-to-end latency.

    Args:
        bundle: The opened bundle; its golden cases of one size are the images.
        backends: Names as `load` takes them.
        rounds: Timed rounds; each runs every backend once.
        warmup: Rounds before them, kept apart.
        progress: Told the rounds done and how many there are.

    Raises:
        BundleError, MissingExtraError: As `load`.
    """
    golden = golden_of(bundle)
    timed = [case for case in golden if case.image.shape == golden[0].image.shape]
    with ExitStack() as stack:
        predictors = [stack.enter_context(load(bundle, name)) for name in backends]
        samples: list[list[Timings]] = [[] for _ in predictors]
        for done in range(warmup + rounds):
            progress(done, warmup + rounds)
            case = timed[done % len(timed)]
            for predictor, taken in zip(predictors, samples, strict=True):
                taken.append(predictor.segment(case.image, case.boxes[:1]).timings)
        rows = tuple(
            BackendLatency(predictor.served_by, _latencies(taken, warmup), _parity(predictor, golden))
            for predictor, taken in zip(predictors, samples, strict=True)
        )
    return _report(bundle, rounds, warmup, golden[0], rows)


def _report(bundle: Bundle, rounds: int, warmup: int, case: Golden, rows: tuple[BackendLatency, ...]) -> BenchReport:
    return BenchReport(
        bundle=str(bundle.root),
        digest=bundle.manifest.digest,
        trained=bundle.manifest.model.trained,
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        rounds=rounds,
        warmup=warmup,
        image_hw=(case.image.shape[0], case.image.shape[1]),
        backends=rows,
    )


def _latencies(timings: Sequence[Timings], warmup: int) -> tuple[Latency, ...]:
    columns = (
        [one.encode_ms for one in timings],
        [one.decode_ms for one in timings],
        [one.total_ms for one in timings],
    )
    return tuple(
        Latency(stage, tuple(values[warmup:]), tuple(values[:warmup]))
        for stage, values in zip(STAGES, columns, strict=True)
    )


def _parity(predictor: Predictor, golden: Sequence[Golden]) -> Summary:
    rows = [
        row
        for case in golden
        for row in compare_masks(case.id, case.modality, predictor.segment(case.image, case.boxes).masks, case.masks)
    ]
    return summarise([row.dsc for row in rows])
