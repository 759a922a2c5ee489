from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.benchmarks import bench as module
from medsam_edge.benchmarks.bench import bench
from medsam_edge.benchmarks.latency import STAGES
from medsam_edge.benchmarks.rounds import Plan
from medsam_edge.benchmarks.worker.messages import Request
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, MissingExtraError, UsageError
from medsam_edge.runtime.golden import Golden

Asked = list[tuple[str, object]]
QUICK = Plan(rounds=3, boxes=8, machine=False)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def other(tmp_path: Path, write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...]) -> Bundle:
    return open_bundle(write_bundle(tmp_path / "other.bundle", tiny_golden))


def requests(asked: Asked) -> list[Request]:
    return [message for _, message in asked if isinstance(message, Request)]


def test_two_real_processes_and_the_machine(bundle: Bundle) -> None:
    report = bench(bundle, ["fake", "fake"], Plan(rounds=2))
    assert [one.name for one in report.candidates] == ["fake f32", "fake f32"]
    for one in report.candidates:
        assert [latency.stage for latency in one.latencies] == [*STAGES, "decode 32 boxes"]
        assert [(latency.n, len(latency.warmup_ms)) for latency in one.latencies] == [(2, 2)] * 5 + [(2, 1)]
        assert 0 < one.ready_ms < one.first_mask_ms
        assert one.peak_mib > 5
        assert one.peak_many_mib is not None
        assert one.peak_many_mib >= one.peak_mib
        assert (one.parity.n, one.parity.mean) == (5, 1.0)
    assert (report.rounds, report.warmup, report.boxes) == (2, 2, 32)
    assert report.machine is not None
    assert (report.machine.library, len(report.machine.samples_ms)) == ("numpy", 2)
    assert report.machine.gflops > 0
    assert (report.operations, report.ratios, report.memory, report.notes) == (None, (), (), ())


def test_the_whole_is_no_less_than_its_stages(bundle: Bundle, asked: Asked) -> None:
    (one,) = bench(bundle, ["fake"], QUICK).candidates
    *stages, whole = (latency.samples_ms for latency in one.latencies[: len(STAGES)])
    assert [sum(values) for values in zip(*stages, strict=True)] == pytest.approx(list(whole))


def test_images_are_those_of_the_size_that_is_reported(bundle: Bundle, asked: Asked) -> None:
    report = bench(bundle, ["fake"], QUICK)
    assert report.image_hw == (64, 64)
    assert {one.sample for one in requests(asked)} == {0}  # the other golden case is 48 x 80


def test_agreement_is_over_all_golden_boxes_with_and_without_many(bundle: Bundle, asked: Asked) -> None:
    for plan in (QUICK, replace(QUICK, boxes=0), replace(QUICK, boxes=2)):
        (one,) = bench(bundle, ["fake"], plan).candidates
        assert (one.parity.n, one.parity.mean) == (5, 1.0)
    assert (one.peak_many_mib is None) is False


def test_other_masks_are_seen(
    tmp_path: Path, write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...], asked: Asked
) -> None:
    wrong = [replace(case, masks=~case.masks) for case in tiny_golden]
    found = bench(open_bundle(write_bundle(tmp_path / "b", wrong)), ["fake"], QUICK)
    assert found.candidates[0].parity.mean == 0


def test_the_report_says_on_what_it_was_measured(bundle: Bundle, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    report = bench(bundle, ["fake"], QUICK)
    assert (report.bundle, report.digest) == (str(bundle.root), bundle.manifest.digest)
    assert report.trained
    assert report.cores >= 1
    assert report.processor
    assert "Python 3." in report.system
    assert report.environment["OMP_NUM_THREADS"] == "1"
    assert "MKL_NUM_THREADS" not in report.environment


def test_another_bundle_joins_the_same_rounds_and_is_held_against(bundle: Bundle, other: Bundle, asked: Asked) -> None:
    report = bench(bundle, ["fake"], QUICK, against=[other])
    assert [(one.name, one.role, one.bundle) for one in report.candidates] == [
        ("fake f32", "own", str(bundle.root)),
        ("other.bundle: fake f32", "against", str(other.root)),
    ]
    assert {(one.candidate, one.reference) for one in report.ratios} == {("fake f32", "other.bundle: fake f32")}
    assert [one.stage for one in report.ratios] == [*STAGES, "decode 8 boxes"]
    turns = [who for who, message in asked if getattr(message, "ask", "") == "one box"]
    assert turns[2:] == ["fake", "other.bundle fake"] * 4


def test_a_checkpoint_without_a_baseline_is_for_nothing(bundle: Bundle, asked: Asked) -> None:
    with pytest.raises(UsageError, match="--baseline torch"):
        bench(bundle, ["fake"], QUICK, source="w.pth")


def test_the_baseline_names_its_extra_before_anything_starts(
    bundle: Bundle, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        if name == "baseline":
            raise MissingExtraError("a", "b", "pip install 'medsam-edge[baseline]'")

    monkeypatch.setattr(module, "require_extra", missing)
    with pytest.raises(MissingExtraError, match="baseline"):
        bench(bundle, ["fake"], QUICK, baseline=True)
    assert asked == []


def test_an_error_of_a_worker_is_the_benchs(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_golden: tuple[Golden, ...]
) -> None:
    monkeypatch.setattr(module, "golden_of", lambda _: tiny_golden)
    lost = replace(bundle, root=tmp_path / "lost")
    with pytest.raises(BundleError, match="nothing at"):
        bench(lost, ["fake"], QUICK)


def test_a_bundle_without_golden_cases_has_nothing_to_measure(
    tmp_path: Path, write_bundle: Callable[..., Path]
) -> None:
    with pytest.raises(BundleError, match="at least two golden cases; found 0"):
        bench(open_bundle(write_bundle(tmp_path / "b", ())), ["fake"])


def test_operations_are_counted_before_anything_is_measured(
    bundle: Bundle, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        assert asked == []
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(module, "operations_of", broken)
    report = bench(bundle, ["fake"], replace(QUICK, machine=True))
    assert (report.rounds, report.operations) == (3, None)
    assert report.notes == ("Operations were not counted: libtorch_cpu.so: cannot open shared object file.",)


def test_what_disturbed_the_others_is_said(bundle: Bundle, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_edge.benchmarks.worker.serve.quiet", lambda: False)
    assert bench(bundle, ["fake"], QUICK).notes == ("fake f32 kept computing while others were measured.",)
