"""What is kept of a tensor's values over many images: enough to choose an INT8 range, and nothing of the values.

Magnitudes are counted in BINS equal bins over [0, 2^k), with the smallest k that holds them all. A larger value doubles
the range and merges neighbouring bins, which loses nothing but resolution: the counts do not depend on the order of the
images, nor on how they were split among runs. It knows neither graphs nor how a range is chosen (`ranges`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ..runtime.errors import ArtefactError, MeasurementError, UsageError
from ..runtime.types import AnyArray

BINS = 4096
"""At least half of them lie below the largest magnitude, so a bin is between 1/4096 and 1/2048 of it wide."""
LEAST_EXPONENT = -64
"""k never goes below this: magnitudes under 2^-64 are as good as zero."""
_CHUNK = 1 << 18  # values at a time, so that what is computed on the way stays in the processor's cache
_DTYPES = {"count": "<i8", "limits": "<f4", "peaks": "<f4", "exponent": "<i8", "histogram": "<i8"}


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is known of one tensor. Arrays are read-only.

    Attributes:
        count: Number of values seen, at least 1.
        minimum: The smallest value.
        maximum: The largest value.
        peaks: float32 `(C,)`, the largest magnitude in each channel.
        exponent: k; the histogram covers [0, 2^k).
        histogram: int64 `(BINS,)`; bin i counts the magnitudes in [i, i + 1) times `width`.
    """

    count: int
    minimum: float
    maximum: float
    peaks: AnyArray
    exponent: int
    histogram: AnyArray

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(abs(self.minimum), abs(self.maximum))

    @property
    def width(self) -> float:
        """The width of a bin, a power of two."""
        return math.ldexp(1.0, self.exponent) / BINS


class Accumulator:
    """Statistics in the making. An error leaves it unusable.

    Args:
        name: The tensor's, for messages.
        axis: Where its channels are: -1 for tokens `(1, T, C)` and windows `(W, 14, 14, C)`, 1 for maps `(1, C, H, W)`.
    """

    def __init__(self, name: str, axis: int = -1) -> None:
        self._name, self._axis = name, axis
        self._count, self._minimum, self._maximum = 0, np.float32(np.inf), np.float32(-np.inf)
        self._peaks: AnyArray = np.zeros(0, np.float32)
        self._exponent, self._histogram = LEAST_EXPONENT, np.zeros(BINS, np.int64)

    def update(self, values: AnyArray) -> None:
        """Take in one array, float32 or float16; its channels are as many as the first one's.

        Raises:
            MeasurementError: It holds NaN or infinity.
            UsageError: Another dtype, no such axis, or another number of channels.
        """
        rows = self._rows(values)
        if not self._count:
            self._peaks = np.zeros(rows.shape[1], np.float32)
        step = max(1, _CHUNK // rows.shape[1])
        for start in range(0, len(rows), step):
            self._take(rows[start : start + step].astype(np.float32, copy=False))
        self._count += rows.size

    def _rows(self, values: AnyArray) -> AnyArray:
        """One row a position, one column a channel."""
        if values.dtype not in (np.float32, np.float16):
            found, remedy = f"{values.dtype} in {self._name}", "leave it out: only floating-point values are quantised"
            raise UsageError("a float32 or float16 tensor", found, remedy)
        if values.size == 0 or not -values.ndim <= self._axis < values.ndim:
            found = f"the shape {values.shape} of {self._name}"
            raise UsageError(f"a tensor with values and a channel axis {self._axis}", found, "name another axis")
        moved = np.moveaxis(values, self._axis, -1)
        rows = moved.reshape(-1, moved.shape[-1])
        if self._count and rows.shape[1] != len(self._peaks):
            found = f"{rows.shape[1]} in {self._name}"
            raise UsageError(f"{len(self._peaks)} channels, as before", found, "feed inputs of one shape")
        return rows

    def _take(self, rows: AnyArray) -> None:
        magnitudes = np.abs(rows)
        peaks = magnitudes.max(axis=0)
        if not np.isfinite(peaks).all():
            remedy = "check the bundle and this image with `medsam-edge verify`"
            raise MeasurementError(f"finite values in {self._name}", "NaN or infinity", remedy)
        self._minimum, self._maximum = min(self._minimum, rows.min()), max(self._maximum, rows.max())
        self._peaks = np.maximum(self._peaks, peaks)
        needed = max(self._exponent, _exponent(peaks.max()))
        self._histogram = _coarser(self._histogram, needed - self._exponent)
        self._exponent = needed
        # Scaling by a power of two is exact, so the whole part is the very bin.
        bins = (magnitudes * np.float32(math.ldexp(BINS, -needed))).astype(np.intp)
        self._histogram += np.bincount(bins.ravel(), minlength=BINS)

    def result(self) -> Statistics:
        """Return the statistics so far.

        Raises:
            UsageError: Nothing was taken in yet.
        """
        if not self._count:
            raise UsageError(f"at least one image to observe {self._name} on", "none", "give some")
        limits = float(self._minimum) + 0.0, float(self._maximum) + 0.0  # of zeros the positive one, in any order
        return _frozen(self._count, *limits, self._peaks.copy(), self._exponent, self._histogram.copy())


def _frozen(
    count: int, minimum: float, maximum: float, peaks: AnyArray, exponent: int, histogram: AnyArray
) -> Statistics:
    for array in (peaks, histogram):
        array.flags.writeable = False
    return Statistics(count, minimum, maximum, peaks, exponent, histogram)


def _exponent(peak: float) -> int:
    """The smallest k that is allowed and whose power of two is above the peak."""
    return max(LEAST_EXPONENT, math.frexp(peak)[1]) if peak else LEAST_EXPONENT  # frexp says 0 for 0


def _coarser(histogram: AnyArray, doublings: int) -> AnyArray:
    """The same counts over a range that is so many times doubled."""
    merged = 1 << min(doublings, BINS.bit_length() - 1)
    sums = histogram.reshape(-1, merged).sum(axis=1)
    return np.pad(sums, (0, BINS - len(sums)))


def merged(first: Statistics, *others: Statistics) -> Statistics:
    """Return the statistics of all that several runs saw of one tensor, as if one run had seen it.

    Raises:
        UsageError: They have different numbers of channels, so they are of different tensors.
    """
    return reduce(_merged, others, first)


def _merged(one: Statistics, other: Statistics) -> Statistics:
    if len(one.peaks) != len(other.peaks):
        found = f"{len(one.peaks)} and {len(other.peaks)} channels"
        raise UsageError("statistics of one tensor", found, "merge those of the same name and graph")
    exponent = max(one.exponent, other.exponent)
    return _frozen(
        one.count + other.count,
        min(one.minimum, other.minimum),
        max(one.maximum, other.maximum),
        np.maximum(one.peaks, other.peaks),
        exponent,
        _coarser(one.histogram, exponent - one.exponent) + _coarser(other.histogram, exponent - other.exponent),
    )


def to_arrays(statistics: Mapping[str, Statistics]) -> dict[str, AnyArray]:
    """Return everything as arrays for an npz: `<tensor>.<field>`, without Python objects."""
    arrays: dict[str, AnyArray] = {}
    for name, each in statistics.items():
        values = each.count, (each.minimum, each.maximum), each.peaks, each.exponent, each.histogram
        fields = zip(_DTYPES.items(), values, strict=True)
        arrays |= {f"{name}.{field}": np.asarray(value, dtype) for (field, dtype), value in fields}
    return arrays


def from_arrays(arrays: Mapping[str, AnyArray]) -> dict[str, Statistics]:
    """Read what `to_arrays` made, in its order.

    Raises:
        ArtefactError: A field is missing or superfluous, has another dtype or shape, or fields contradict each other.
    """
    names = dict.fromkeys(key.rpartition(".")[0] for key in arrays)
    if set(arrays) != {f"{name}.{field}" for name in names for field in _DTYPES}:
        raise _unreadable(f"the fields {', '.join(_DTYPES)} for each tensor", ", ".join(list(arrays)[:6]) or "nothing")
    return {name: _from_fields(name, {field: arrays[f"{name}.{field}"] for field in _DTYPES}) for name in names}


def _from_fields(name: str, fields: Mapping[str, AnyArray]) -> Statistics:
    shapes = {"count": (), "limits": (2,), "peaks": (fields["peaks"].size,), "exponent": (), "histogram": (BINS,)}
    for field, array in fields.items():
        if (array.dtype, array.shape) != (np.dtype(_DTYPES[field]), shapes[field]):
            expected = f"{name}.{field} as {_DTYPES[field]} {shapes[field]}"
            raise _unreadable(expected, f"{array.dtype} {array.shape}")
    minimum, maximum = map(float, fields["limits"])
    count, exponent = int(fields["count"]), int(fields["exponent"])
    found = _frozen(count, minimum, maximum, fields["peaks"].copy(), exponent, fields["histogram"].copy())
    if not _consistent(found):
        raise _unreadable(f"consistent statistics of {name}", "fields that contradict each other")
    return found


def _consistent(found: Statistics) -> bool:
    if not (math.isfinite(found.minimum) and found.minimum <= found.maximum and math.isfinite(found.maximum)):
        return False
    return (
        found.exponent == _exponent(found.peak)
        and bool(np.all(found.peaks >= 0))
        and found.peaks.max(initial=0) == found.peak
        and int(found.histogram.min()) >= 0
        and found.count == int(found.histogram.sum()) > 0
        and int(found.histogram[int(found.peak / found.width)]) > 0
    )


def _unreadable(expected: str, found: str) -> ArtefactError:
    return ArtefactError(expected, found, "observe the tensors again")
