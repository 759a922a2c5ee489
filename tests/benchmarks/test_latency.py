import numpy as np
import pytest
from medsam_edge.benchmarks.latency import Latency, MachineRate


@pytest.mark.parametrize(
    ("count", "supported"), [(0, ()), (1, (50.0,)), (9, (50.0,)), (10, (50.0, 90.0)), (99, (50.0, 90.0))]
)
def test_a_percentile_that_the_samples_do_not_support_is_none(count: int, supported: tuple[float, ...]) -> None:
    latency = Latency("encode", tuple(float(value) for value in range(count)), ())
    values = {50: latency.p50_ms, 90: latency.p90_ms, 99: latency.p99_ms}
    found = tuple(percent for percent, value in values.items() if value is not None)
    assert found == supported


def test_percentiles_are_those_of_the_samples_and_not_of_the_warm_up() -> None:
    samples = np.random.default_rng(0).permutation(101).astype(float)
    latency = Latency("encode", tuple(samples), (1e9,) * 50)
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.n) == (50, 90, 99, 101)


def test_the_machines_rate_is_that_of_the_median() -> None:
    found = MachineRate("numpy", (4096, 768, 3072), (100.0, 1e6, 100.0), (5.0,))
    assert found.gflops == pytest.approx(2 * 4096 * 768 * 3072 / 1e8)


@pytest.mark.parametrize(
    ("samples", "drift", "unsteady"),
    [
        ((100.0, 100.0), None, False),
        ((100.0, 5.0, 100.0), 0.0, False),
        ((100.0, 1.0, 125.0), -0.2, True),  # slower at the end: a lower rate
        ((100.0, 100.0, 1.0, 1.0, 80.0, 80.0), 0.25, True),
        ((100.0, 1.0, 108.0), 100 / 108 - 1, False),
    ],
)
def test_drift_is_the_last_third_over_the_first(
    samples: tuple[float, ...], drift: float | None, unsteady: bool
) -> None:
    found = MachineRate("numpy", (1, 1, 1), samples, ())
    assert found.drift == (None if drift is None else pytest.approx(drift))
    assert found.unsteady == unsteady
