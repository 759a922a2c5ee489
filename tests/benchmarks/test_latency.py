from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.benchmarks import latency as module
from medsam_edge.benchmarks.latency import STAGES, Latency, bench
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.predictor import Prediction, Predictor, ServedBy
from medsam_edge.runtime.types import AnyArray

Calls = list[tuple[str, tuple[int, ...], int]]


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def calls(fake_predictor: Callable[..., Predictor], monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Who segmented an image of which shape with how many boxes, in the order of the calls."""
    noted: Calls = []

    class Noted(Predictor):
        def segment(self, image: AnyArray, boxes: AnyArray) -> Prediction:  # type: ignore[override]
            noted.append((self.served_by.backend, image.shape[:2], len(boxes)))
            return super().segment(image, boxes)

    def loaded(_: Bundle, name: str) -> AbstractContextManager[Predictor]:
        one = fake_predictor()
        return nullcontext(Noted(one.profile, one._encoder, one._decoder, ServedBy(name, "1", "CPU", "f32", {})))

    monkeypatch.setattr(module, "load", loaded)
    return noted


def test_each_stage_has_one_sample_for_each_round_and_warm_up_apart(bundle: Bundle) -> None:
    report = bench(bundle, ["fake"], rounds=7, warmup=3)
    (one,) = report.backends
    assert [latency.stage for latency in one.latencies] == list(STAGES)
    for latency in one.latencies:
        assert (len(latency.samples_ms), len(latency.warmup_ms)) == (7, 3)
        assert min(latency.samples_ms) > 0
    assert (report.rounds, report.warmup) == (7, 3)


def test_the_whole_is_no_less_than_its_stages(bundle: Bundle) -> None:
    (one,) = bench(bundle, ["fake"], rounds=5).backends
    encode, decode, whole = (latency.samples_ms for latency in one.latencies)
    assert all(a + b <= c for a, b, c in zip(encode, decode, whole, strict=True))


def test_warm_up_comes_first(bundle: Bundle) -> None:
    found = bench(bundle, ["fake"], rounds=4, warmup=0).backends[0]
    assert found.latencies[0].warmup_ms == ()
    values = module._latencies([module.Timings(encode_ms=value) for value in (9.0, 8.0, 1.0, 2.0)], 2)
    assert (values[0].warmup_ms, values[0].samples_ms) == ((9.0, 8.0), (1.0, 2.0))


def test_backends_take_turns_on_the_same_image(bundle: Bundle, calls: Calls) -> None:
    bench(bundle, ["a", "b", "c"], rounds=4, warmup=2)
    timed = calls[: 3 * 6]
    assert [name for name, _, _ in timed] == ["a", "b", "c"] * 6
    assert all(timed[at][1:] == timed[at + 1][1:] == timed[at + 2][1:] for at in range(0, 18, 3))


def test_one_box_on_images_of_the_size_that_is_reported(bundle: Bundle, calls: Calls) -> None:
    report = bench(bundle, ["a"], rounds=5, warmup=1)
    assert set(calls[:6]) == {("a", report.image_hw, 1)}


def test_parity_is_measured_on_every_golden_box_after_the_timing(bundle: Bundle, calls: Calls) -> None:
    report = bench(bundle, ["a", "b"], rounds=1, warmup=0)
    assert calls[2:] == [("a", (64, 64), 3), ("a", (48, 80), 2), ("b", (64, 64), 3), ("b", (48, 80), 2)]
    assert [(one.parity.n, one.parity.mean) for one in report.backends] == [(5, 1.0), (5, 1.0)]


def test_the_report_says_on_what_it_was_measured(bundle: Bundle) -> None:
    report = bench(bundle, ["fake"], rounds=1, warmup=0)
    assert (report.bundle, report.digest) == (str(bundle.root), bundle.manifest.digest)
    assert report.trained
    assert report.image_hw == (64, 64)
    assert report.cores >= 1
    assert report.processor
    assert "Python 3." in report.system


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


def test_progress_counts_rounds(bundle: Bundle) -> None:
    told: list[tuple[int, int]] = []
    bench(bundle, ["fake"], rounds=2, warmup=1, progress=lambda *each: told.append(each))
    assert told == [(0, 3), (1, 3), (2, 3)]


def test_a_bundle_without_golden_cases_has_nothing_to_measure(
    tmp_path: Path, write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...]
) -> None:
    with pytest.raises(BundleError, match="at least two golden cases; found 0"):
        bench(open_bundle(write_bundle(tmp_path / "b", ())), ["fake"])
