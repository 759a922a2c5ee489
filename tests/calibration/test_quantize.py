"""The verb as a whole, on the demo model: what it keeps, what it refuses, and what a second run does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from medsam_edge.benchmarks.cases import golden_cases
from medsam_edge.calibration import quantize as verb
from medsam_edge.calibration.bootstrap import LEAST_PATIENTS
from medsam_edge.calibration.document import parse
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.lint import lint
from medsam_edge.calibration.memory import Memory
from medsam_edge.calibration.outcome import Candidate, Outcome, exit_code
from medsam_edge.calibration.plan import Plan
from medsam_edge.calibration.quantize import quantize
from medsam_edge.calibration.scores import Limits
from medsam_edge.calibration.speed import Speed
from medsam_edge.calibration.three_sets import Counts, Sources, ThreeSets, three_sets
from medsam_edge.export.demo_checkpoint import checkpoint_path
from medsam_edge.export.pipeline import export_bundle
from medsam_edge.runtime.backends.base import BackendChoice
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, ExitCode, ParityError, UsageError
from medsam_edge.runtime.loading import load
from medsam_edge.runtime.predictor import Prediction, Predictor
from medsam_edge.runtime.types import AnyArray
from safetensors.numpy import load_file, save_file

BLOCK, LARGEST = 3, 150000.0
# One hidden channel sets the range, ten lie halfway between two of its 127 steps.
VALUES = np.array([LARGEST, *((n + 0.5) * LARGEST / 127 for n in range(20, 120, 10))], np.float32)
PLAN = Plan("onnxruntime", "int8", Limits(0.02, 0.1, 0.9, 0.2), margin=1.0, rounds=1)


def quiet(_what: str, _done: int, _all: int) -> None:
    """Say nothing."""


def planted(tensors: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Give some hidden channels large values, and take what they do to the sum back in the bias.

    The function stays what it was but for the channels' own small part; in int8 what the bias takes back is not what
    comes in, whether the range holds the largest or clips it. No balancing reaches the input of `lin2`.
    """
    made = {name: values.astype(np.float32) for name, values in tensors.items()}
    stem = f"image_encoder.blocks.{BLOCK}.mlp"
    made[f"{stem}.lin1.weight"][: len(VALUES)], made[f"{stem}.lin1.bias"][: len(VALUES)] = 0, VALUES
    made[f"{stem}.lin2.bias"] -= made[f"{stem}.lin2.weight"][:, : len(VALUES)] @ VALUES
    return made


@pytest.fixture(scope="module")
def cases() -> ThreeSets:
    return three_sets(Sources(counts=Counts(4, 3, LEAST_PATIENTS)), quiet)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo.bundle"
    return export_bundle(checkpoint_path("demo"), out, golden_cases()[:2], targets=["onnxruntime"]).bundle


@pytest.fixture
def bundle(demo: Path) -> Iterator[Bundle]:
    """The demo's bundle, put back as it was afterwards."""
    before = {path: path.read_bytes() for path in demo.rglob("*") if path.is_file()}
    yield open_bundle(demo)
    for path in demo.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, data in before.items():
        path.write_bytes(data)


@pytest.fixture
def always_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on what this machine is fast at."""
    monkeypatch.setattr(Speed, "pays", lambda _self, _margin: True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One journal for all tests of the demo's bundle: what is asked for is no part of what masks depend on."""
    return tmp_path_factory.mktemp("journal") / "work"


@pytest.mark.usefixtures("always_pays")
def test_what_passes_is_written_into_the_bundle_and_serves(bundle: Bundle, cases: ThreeSets, work: Path) -> None:
    before = open_bundle(bundle.root).manifest
    outcome = quantize(bundle, cases, PLAN, work, quiet)
    assert outcome.chosen == "onnxruntime:CPU:int8"
    assert exit_code(outcome) == ExitCode.OK
    after = open_bundle(bundle.root)
    assert outcome.digest == after.manifest.digest != before.digest
    assert set(after.manifest.graphs) > set(before.graphs)
    entry = after.entry("encoder", "int8", "onnxruntime")
    assert not lint(onnx.load(after.root / entry.file))
    assert entry.bytes < 0.4 * after.entry("encoder", "fp32").bytes
    with load(after, outcome.chosen) as predictor:
        assert predictor.served_by.precision == "int8"
        assert predictor.served_by.graphs["encoder"] == entry.sha256
        golden = after.golden_cases()[0]
        assert predictor.segment(golden.image, golden.boxes).masks.shape == golden.masks.shape
    record = parse(after.record("calibration-onnxruntime"))
    assert [one.purpose for one in record.cases] == ["calibration", "selection", "evaluation"]
    assert record.outcome == replace(outcome, bundle="", digest="")


@pytest.mark.usefixtures("always_pays")
def test_the_scales_that_are_told_are_those_of_the_graph(bundle: Bundle, cases: ThreeSets, work: Path) -> None:
    outcome = quantize(bundle, cases, PLAN, work, quiet)
    after = open_bundle(bundle.root)
    graph = onnx.load(after.root / after.entry("encoder", "int8", "onnxruntime").file).graph
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    told = {f"{one.layer}/input/scale": one.scale for one in outcome.layers}
    scales = {name: float(array) for name, array in stored.items() if name.endswith("/input/scale")}
    assert scales == {name: told[name] for name in scales}  # layers that read one tensor share the first one's
    assert {one.layer for one in outcome.layers} == {layer.name for layer in quantisable(onnx.load(float32_of(after)))}


@pytest.mark.usefixtures("always_pays")
def test_the_memory_of_every_judged_candidate_is_told(
    bundle: Bundle, cases: ThreeSets, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def of(memory: Memory, choice: BackendChoice, encoder: bytes | None) -> int | None:
        asked.append((str(choice), encoder is not None))
        memory.notes.append("no figure for one")
        return 7 if encoder else None

    monkeypatch.setattr(Memory, "of", of)
    outcome = quantize(bundle, cases, PLAN, work, quiet)
    assert [one.memory_bytes for one in outcome.candidates] == [None, 7]
    assert sorted(asked) == [("onnxruntime", False), ("onnxruntime:CPU:int8", True)]
    assert "no figure for one" in outcome.notes


@pytest.mark.usefixtures("always_pays")
def test_a_second_run_does_nothing_and_says_so(
    bundle: Bundle, cases: ThreeSets, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = quantize(bundle, cases, PLAN, work, quiet)
    written = {path: path.stat().st_mtime_ns for path in bundle.root.rglob("*") if path.is_file()}
    monkeypatch.setattr(verb, "_Run", None)
    second = quantize(open_bundle(bundle.root), cases, PLAN, work, quiet)
    assert second == replace(first, reused=True)
    assert {path: path.stat().st_mtime_ns for path in bundle.root.rglob("*") if path.is_file()} == written


@pytest.mark.usefixtures("always_pays")
def test_a_run_that_was_stopped_leaves_the_bundle_and_goes_on(bundle: Bundle, cases: ThreeSets, tmp_path: Path) -> None:
    work = tmp_path / "work"
    seen: list[str] = []

    def stop(what: str, _done: int, _all: int) -> None:
        seen.append(what)
        if len(seen) == 40:
            raise KeyboardInterrupt

    before = bundle.manifest.digest
    with pytest.raises(KeyboardInterrupt):
        quantize(bundle, cases, PLAN, work, stop)
    assert open_bundle(bundle.root).manifest.digest == before
    results = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    assert quantize(bundle, cases, PLAN, work, quiet).chosen
    assert {path: path.stat().st_mtime_ns for path in results} == results


def test_limits_that_nothing_keeps_leave_the_bundle_as_it_was(bundle: Bundle, cases: ThreeSets, work: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.root.rglob("*") if path.is_file()}
    plan = replace(PLAN, limits=Limits(0, 0, 1, 0))
    outcome = quantize(bundle, cases, plan, work, quiet)
    assert outcome.chosen is None
    assert exit_code(outcome) == ExitCode.PARITY
    assert {path: path.read_bytes() for path in bundle.root.rglob("*") if path.is_file()} == before


def test_what_keeps_the_masks_and_does_not_pay_is_not_kept(
    bundle: Bundle, cases: ThreeSets, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Speed, "pays", lambda _self, _margin: False)
    plan = replace(PLAN, margin=2.0)
    outcome = quantize(bundle, cases, plan, work, quiet)
    assert outcome.chosen is None
    assert exit_code(outcome) == ExitCode.SPEED
    assert "it has to be 2.0 times" in outcome.candidates[-1].objections[-1]
    speed, float32 = outcome.candidates[-1].speed, outcome.candidates[0]
    assert speed is not None
    assert float32.median_ms == speed.against_ms > 0
    assert outcome.peak_mib > 50
    assert open_bundle(bundle.root).manifest.digest == bundle.manifest.digest


@pytest.mark.usefixtures("always_pays")
def test_a_block_that_int8_destroys_is_found_and_kept_in_float(tmp_path: Path, cases: ThreeSets, work: Path) -> None:
    checkpoint = tmp_path / "planted.safetensors"
    save_file(planted(load_file(checkpoint_path("demo"))), checkpoint)
    out = tmp_path / "planted.bundle"
    export_bundle(checkpoint, out, golden_cases()[:2], "medsam", targets=["onnxruntime"])
    outcome = quantize(open_bundle(out), cases, PLAN, work, quiet)
    assert outcome.sensitivities[0].block == f"blocks.{BLOCK}"
    assert f"blocks.{BLOCK}" in int8_of(outcome).kept_float
    assert outcome.chosen
    assert outcome.tried[0].objections
    for one in outcome.layers:
        assert (one.scale is None) == (one.block in int8_of(outcome).kept_float)


@pytest.mark.usefixtures("always_pays")
def test_a_candidate_that_answers_with_nan_is_refused_and_not_the_run(
    bundle: Bundle, cases: ThreeSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Predictor.segment

    def broken(self: Predictor, *given: object) -> Prediction:
        if self.served_by.precision == "int8":
            raise ParityError("finite values", "NaN", "none")
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "segment", broken)
    outcome = quantize(bundle, cases, PLAN, tmp_path / "work", quiet)
    assert outcome.chosen is None
    assert int8_of(outcome).objections
    assert {row.objection for row in outcome.recipes} == {"NaN"}
    assert exit_code(outcome) == ExitCode.PARITY


@pytest.mark.usefixtures("always_pays")
def test_a_bundle_that_somebody_wrote_meanwhile_is_not_overwritten(
    bundle: Bundle, cases: ThreeSets, work: Path
) -> None:
    stale = replace(bundle, manifest=replace(bundle.manifest, digest="0" * 64))
    with pytest.raises(BundleError, match="written meanwhile"):
        quantize(stale, cases, PLAN, work, quiet)


def float32_of(bundle: Bundle) -> Path:
    return bundle.root / bundle.entry("encoder", "fp32").file


def int8_of(outcome: Outcome) -> Candidate:
    return next(one for one in outcome.candidates if one.backend == "onnxruntime:CPU:int8")


@pytest.mark.parametrize(("changes", "said"), [
    ({"target": "tensorrt"}, "a target among"),
    ({"precision": "int4"}, "a precision among"),
    ({"precision": "bf16"}, "bf16 on the target openvino"),
    ({"precision": "int8+bf16"}, r"int8\+bf16 on the target openvino"),
    ({"margin": 0.5}, "a margin of at least 1"),
    ({"margin": float("nan")}, "a margin of at least 1"),
])  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(PLAN, **changes)  # type: ignore[arg-type]
