"""What `benchmarks.roofline` found, as plain data, and how the limit is worked out from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..calibration.ratio import ratio

PARTS = {"f32": ("f32", "f32"), "int8": ("int8", "f32"), "int8+bf16": ("int8", "bf16")}
"""By the encoder's precision, those in which its linear layers and its attention compute."""


@dataclass(frozen=True)
class Rate:
    """One product of the encoder.

    Attributes:
        name: "linear ROWS x INNER x COLUMNS", or "attention WINDOWS x HEADS x TOKENS x CHANNELS".
        attention: Whether it is attention.
        count: How often the encoder does it for an image.
        macs: Multiplications of one.
        samples_ms: By precision, milliseconds of one, round by round.
    """

    name: str
    attention: bool
    count: int
    macs: int
    samples_ms: Mapping[str, tuple[float, ...]]

    def gops(self, precision: str) -> float:
        """Return 10^9 operations per second, two a multiplication, at the median time."""
        return 2e-6 * self.macs / median(self.samples_ms[precision])


@dataclass(frozen=True)
class Reached:
    """One encoder against its limit.

    Attributes:
        precision: "f32", "int8" or "int8+bf16".
        samples_ms: Milliseconds, round by round.
        linear_ms, attention_ms: Medians of what its products take by themselves; their sum is the limit.
        limit_ms: The median of that sum.
        fraction, low, high: The limit over the encoder's time, with its 95 % interval; 1 is the limit.
        times, times_low, times_high: How many times as fast as the f32 encoder.
    """

    precision: str
    samples_ms: tuple[float, ...]
    linear_ms: float
    attention_ms: float
    limit_ms: float
    fraction: float
    low: float | None
    high: float | None
    times: float
    times_low: float | None
    times_high: float | None

    @property
    def median_ms(self) -> float:
        """The encoder's own time."""
        return median(self.samples_ms)


@dataclass(frozen=True)
class RooflineReport:
    """All of it.

    Attributes:
        bundle, digest: What was measured.
        trained: Whether its weights are.
        library: OpenVINO's version.
        processor, cores: The machine.
        rounds: How many, after one that was not timed.
        int8_layers, layers: How many of the layers that could be int8 the int8 graph has in int8.
        linear_gmac, attention_gmac: Multiplications for one image, in 10^9.
        rates: Every product.
        encoders: f32 first.
    """

    bundle: str
    digest: str
    trained: bool
    library: str
    processor: str
    cores: int
    rounds: int
    int8_layers: int
    layers: int
    linear_gmac: float
    attention_gmac: float
    rates: tuple[Rate, ...]
    encoders: tuple[Reached, ...]


def reached(precision: str, encoder_ms: Sequence[float], float_ms: Sequence[float], rates: Iterable[Rate]) -> Reached:
    """Hold an encoder against the time that its products take by themselves, round by round.

    Args:
        precision: One of `PARTS`.
        encoder_ms: Its own samples.
        float_ms: Those of the f32 encoder.
        rates: Every product, with samples of the same rounds.
    """
    of_linear, of_attention = PARTS[precision]
    everything = list(rates)
    linear = summed([one for one in everything if not one.attention], of_linear, len(encoder_ms))
    attention = summed([one for one in everything if one.attention], of_attention, len(encoder_ms))
    limit = [sum(pair) for pair in zip(linear, attention, strict=True)]
    fraction, low, high = ratio(encoder_ms, limit)
    times, times_low, times_high = ratio(encoder_ms, float_ms)
    return Reached(
        precision=precision,
        samples_ms=tuple(encoder_ms),
        linear_ms=median(linear),
        attention_ms=median(attention),
        limit_ms=median(limit),
        fraction=fraction,
        low=low,
        high=high,
        times=times,
        times_low=times_low,
        times_high=times_high,
    )


def summed(rates: Sequence[Rate], precision: str, rounds: int) -> list[float]:
    """Return the milliseconds of all these products, each as often as the encoder does it, round by round."""
    return [sum(one.count * one.samples_ms[precision][number] for one in rates) for number in range(rounds)]
