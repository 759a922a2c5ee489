"""Limits against NumPy on all values, and against a slow divergence written apart from the fast one."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from medsam_edge.calibration import ranges
from medsam_edge.calibration.ranges import (
    LEAST_SCALE,
    LEVELS,
    METHODS,
    divergences,
    entropy,
    min_max,
    mse,
    percentile,
    scale_of,
)
from medsam_edge.calibration.tensor_statistics import BINS, Accumulator, Statistics
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import AnyArray

RANDOM = np.random.default_rng(3)
SAMPLES = {
    "uniform": RANDOM.uniform(-3, 3, 200_000),
    "normal": RANDOM.standard_normal(200_000),
    "heavy": RANDOM.standard_t(2, 200_000),
    "after a GELU": np.maximum(RANDOM.standard_normal(200_000) * 2, -0.17),
}


def statistics_of(values: AnyArray) -> Statistics:
    accumulator = Accumulator("tokens")
    accumulator.update(np.asarray(values, np.float32).reshape(-1, 1))
    return accumulator.result()


def oracle(counts: AnyArray, kept: int) -> float:
    """The divergence of one candidate, word by word from the talk."""
    p = [float(count) for count in counts[:kept]]
    p[-1] += float(sum(counts[kept:]))
    level_of = [at * LEVELS // kept for at in range(kept)]
    sums, places = [0.0] * LEVELS, [0] * LEVELS
    for at, level in enumerate(level_of):
        sums[level] += float(counts[at])
        places[level] += p[at] > 0
    q = [sums[level] / places[level] if p[at] > 0 else 0.0 for at, level in enumerate(level_of)]
    if sum(q) == 0:
        return math.inf
    divergence = 0.0
    for one, other in zip(p, q, strict=True):
        if one > 0:
            one, other = one / sum(p), other / sum(q)
            divergence += one * math.log(one / other) if other > 0 else math.inf
    return divergence


def histograms() -> dict[str, AnyArray]:
    random = np.random.default_rng(1)
    falling = np.exp(-np.arange(300) / 30) * 1e4
    spiky = random.integers(0, 9, 400) * (random.random(400) < 0.3)
    far = np.append(falling.astype(int), np.zeros(99, int))
    return {
        "random": random.integers(1, 1000, 260),
        "falling": falling.astype(int) + 1,
        "with holes": np.append(spiky, 1),
        "an outlier": np.append(far, 7),
        "as few as levels": [*random.integers(0, 50, 127).tolist(), 3],
        "only the last": np.append(np.zeros(200, int), 5),
    }


@pytest.mark.parametrize("counts", histograms().values(), ids=histograms())
def test_the_divergence_is_that_of_the_talk(counts: AnyArray) -> None:
    counts = np.asarray(counts)
    candidates = np.arange(LEVELS, len(counts) + 1)
    slow = [oracle(counts, int(kept)) for kept in candidates]
    assert np.isfinite(slow[-1])
    assert divergences(counts, candidates) == pytest.approx(slow, rel=1e-9, abs=1e-12)


def test_entropy_takes_the_smallest_divergence() -> None:
    statistics = statistics_of(SAMPLES["heavy"])
    used = int(statistics.peak / statistics.width) + 1
    found = entropy(statistics)
    some = [*range(LEVELS, used, 97), used, round(found / statistics.width)]
    best = min(some, key=lambda kept: oracle(statistics.histogram[:used], kept))
    assert found == best * statistics.width


def test_entropy_clips_a_far_outlier() -> None:
    values = SAMPLES["normal"]
    near = np.abs(values).max()
    assert 0.5 * near < entropy(statistics_of(np.append(values, 15 * near))) < 1.5 * near


@pytest.mark.parametrize("limit", [entropy, mse])
def test_a_uniform_distribution_is_kept_nearly_whole(limit: ranges.Method) -> None:
    assert 0.98 * 3 < limit(statistics_of(SAMPLES["uniform"])) <= 3


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_mse_is_near_the_best_limit_for_the_values_themselves(values: AnyArray) -> None:
    def error(limit: float) -> float:
        step = limit / 127
        return float(np.mean((values - step * np.clip(np.rint(values / step), -127, 127)) ** 2))

    statistics = statistics_of(values)
    lowest = min(error(share * statistics.peak) for share in np.linspace(0.03, 1, 100))
    assert error(mse(statistics)) < 1.03 * lowest


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("percent", [50, 99.9, 99.99, 99.999, 100])
def test_a_percentile_is_within_a_bin_of_numpys(values: AnyArray, percent: float) -> None:
    statistics = statistics_of(values)
    exact = np.percentile(np.abs(values.astype(np.float32)), percent, method="inverted_cdf")
    assert 0 <= percentile(percent)(statistics) - exact <= statistics.width


def test_a_percentile_counts_no_value_too_many() -> None:
    values = np.ones(1000)
    values[0] = 100
    assert percentile(99.9)(statistics_of(values)) < 1.1  # the 999th of 1000
    assert percentile(99.91)(statistics_of(values)) == 100


@pytest.mark.parametrize("percent", [0, -1, 100.1, float("nan")])
def test_a_percentile_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(UsageError, match="percentile"):
        percentile(percent)


def test_min_max_is_the_largest_magnitude() -> None:
    assert min_max(statistics_of(np.array([-5.5, 2.0]))) == 5.5


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_no_limit_is_above_the_largest_magnitude(method: ranges.Method, values: AnyArray) -> None:
    statistics = statistics_of(values)
    assert statistics.peak / 33 < method(statistics) <= statistics.peak


def test_percentiles_are_ordered() -> None:
    statistics = statistics_of(SAMPLES["heavy"])
    limits = [METHODS[f"percentile-{p}"](statistics) for p in ("99.9", "99.99", "99.999")] + [min_max(statistics)]
    assert limits == sorted(set(limits))


CONSTANTS: dict[str, Callable[[], AnyArray]] = {
    "zeros": lambda: np.zeros(50),
    "a denormal": lambda: np.full(50, 1e-42),
    "next to nothing": lambda: np.full(50, 1e-21),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("values", CONSTANTS.values(), ids=CONSTANTS)
def test_next_to_nothing_has_the_least_scale(method: ranges.Method, values: Callable[[], AnyArray]) -> None:
    assert scale_of(method(statistics_of(values()))) == LEAST_SCALE


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("value", [-1.0, 1.0, 0.3, 6e4, 3e38])
def test_a_constant_is_kept(method: ranges.Method, value: float) -> None:
    limit = method(statistics_of(np.full(50, value)))
    assert limit == pytest.approx(abs(value), rel=2e-3)
    assert scale_of(limit) == np.float32(limit / 127)


def test_a_scale_is_an_ordinary_float32_whose_inverse_is_one() -> None:
    for scale in (scale_of(0), scale_of(1e-40), scale_of(float(np.finfo(np.float32).max))):
        assert np.float32(scale) == scale
        assert np.isfinite(np.float32(1 / scale))
        assert scale**2 > float(np.finfo(np.float32).tiny)
    assert scale_of(127) == 1
    for limit in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="finite limit"):
            scale_of(limit)


def test_a_value_in_each_bin_is_kept_whole() -> None:
    values = (np.arange(BINS) + 0.5) / BINS
    assert entropy(statistics_of(values)) == np.float32(values[-1])
