"""What `bench` found, as data: samples, percentiles, start, memory, ratios, and the machine's own rate.

Every raw sample is kept: summaries can be made again, samples cannot. It measures nothing.
"""

from dataclasses import dataclass, field

import numpy as np

from ..runtime.metrics import Summary
from ..runtime.predictor import ServedBy

STAGES = ("preprocess", "encode", "decode one box", "postprocess", "end to end")
# A percentile is printed only where at least one sample lies beyond it.
_LEAST_SAMPLES = {50: 1, 90: 10, 99: 100}
DRIFT_LIMIT = 0.1


def many_stage(boxes: int) -> str:
    """Name the stage of many boxes in one go; its milliseconds are those of one box of them."""
    return f"decode {boxes} boxes"


def served(one: ServedBy) -> str:
    """Name a backend as results name it: library, device unless CPU, execution precision."""
    device = "" if one.device == "CPU" else f" {one.device}"
    return f"{one.backend}{device} {one.precision}"


@dataclass(frozen=True)
class Latency:
    """Samples of one stage of one candidate, in milliseconds, in the order in which they were taken.

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
class CandidateReport:
    """One candidate's figures.

    Attributes:
        name: Unique among readers' eyes: backend, device and precision; the folder before it for another bundle's.
        short: How ratios against it are headed.
        role: "own", "against" or "baseline".
        bundle: The bundle's folder, or "" for PyTorch.
        served_by: What computed.
        latencies: One for each stage.
        ready_ms: From the start of its process to the opened model.
        first_mask_ms: That, and the first image with one box; reading the image is left out.
        peak_mib: Peak resident memory of its process after images with one box each.
        peak_many_mib: The same after many boxes in one go, or None if there were none.
        parity: DSC of its masks with the source checkpoint's, over all boxes of the golden cases.
    """

    name: str
    short: str
    role: str
    bundle: str
    served_by: ServedBy
    latencies: tuple[Latency, ...]
    ready_ms: float
    first_mask_ms: float
    peak_mib: float
    peak_many_mib: float | None
    parity: Summary

    def latency(self, stage: str) -> Latency | None:
        """Return the samples of a stage, if it was measured."""
        return next((one for one in self.latencies if one.stage == stage), None)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast a candidate is as another one: the other's median over its own.

    Attributes:
        candidate, reference: Their names.
        stage: What was timed.
        n: Rounds; each holds one sample of both.
        ratio: Of the medians; above 1 the candidate is faster.
        low, high: 95 % interval, or None where the rounds are too few for one.
    """

    candidate: str
    reference: str
    stage: str
    n: int
    ratio: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Operations:
    """Multiply-accumulates in the plain PyTorch form, in units of 1e9, for one image and for one box."""

    encoder_gmac: float
    decoder_gmac: float


@dataclass(frozen=True)
class MachineRate:
    """The machine's rate of float32 matrix products, measured once in each round.

    Attributes:
        library: What multiplied.
        sizes: Rows, inner size, columns.
        samples_ms, warmup_ms: As in `Latency`.
        gflops: Rate of the median sample, in 1e9 operations per second; a multiply-accumulate counts as two.
        drift: Median rate of the last third of the rounds over that of the first, minus 1; None below 3 rounds.
    """

    library: str
    sizes: tuple[int, int, int]
    samples_ms: tuple[float, ...]
    warmup_ms: tuple[float, ...]
    gflops: float = field(init=False)
    drift: float | None = field(init=False)

    def __post_init__(self) -> None:
        flop = 2 * self.sizes[0] * self.sizes[1] * self.sizes[2]
        object.__setattr__(self, "gflops", flop / float(np.median(self.samples_ms)) / 1e6)
        third = len(self.samples_ms) // 3
        drift = float(np.median(self.samples_ms[:third]) / np.median(self.samples_ms[-third:])) - 1 if third else None
        object.__setattr__(self, "drift", drift)

    @property
    def unsteady(self) -> bool:
        """Whether the machine's speed changed by more than `DRIFT_LIMIT` on the way."""
        return self.drift is not None and abs(self.drift) > DRIFT_LIMIT


@dataclass(frozen=True)
class Efficiency:
    """What a candidate makes of the machine and of many boxes.

    Attributes:
        name: The candidate's.
        per_box_ratio: Time of one box among many in one go over that of a box alone, of medians; or None.
        encoder_gflops, decoder_gflops: Operations of the plain form over the median time, in 1e9 per second; or None.
        encoder_share: The encoder's rate over the machine's; or None.
    """

    name: str
    per_box_ratio: float | None
    encoder_gflops: float | None
    decoder_gflops: float | None
    encoder_share: float | None


@dataclass(frozen=True)
class MemoryShare:
    """A candidate's peak memory over that of PyTorch as the authors run it.

    Attributes:
        candidate, reference: Their names.
        one_box: After images with one box each.
        many_boxes: After many boxes in one go, or None if there were none.
    """

    candidate: str
    reference: str
    one_box: float
    many_boxes: float | None


@dataclass(frozen=True)
class BenchReport:
    """The outcome of `bench`: what was measured, on what, and how.

    Attributes:
        rounds: Timed rounds.
        warmup: Samples of each stage taken before them, the very first image included.
        image_hw: Height and width of the timed images.
        boxes: How many boxes were decoded in one go, or 0.
        environment: Variables that limit the libraries' threads, where they are set.
        memory: Of every candidate, the baseline included; empty where there is no baseline.
        notes: What a reader has to know about this run.
    """

    bundle: str
    digest: str
    trained: bool
    processor: str
    cores: int
    system: str
    environment: dict[str, str]
    rounds: int
    warmup: int
    image_hw: tuple[int, int]
    boxes: int
    candidates: tuple[CandidateReport, ...]
    ratios: tuple[Ratio, ...]
    machine: MachineRate | None
    operations: Operations | None
    efficiency: tuple[Efficiency, ...]
    memory: tuple[MemoryShare, ...]
    notes: tuple[str, ...]
