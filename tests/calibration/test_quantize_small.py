"""The verb on a bundle of one layer, which takes a second: refusals, what may serve, and what a killed run leaves."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from weakref import ReferenceType, ref

import pytest
from medsam_edge.benchmarks.verification import verify
from medsam_edge.calibration import encoders, trial
from medsam_edge.calibration import quantize as verb
from medsam_edge.calibration.bootstrap import LEAST_PATIENTS
from medsam_edge.calibration.case_set import CaseRef, CaseSet
from medsam_edge.calibration.int8_graphs import Int8Graphs
from medsam_edge.calibration.outcome import Outcome, exit_code
from medsam_edge.calibration.plan import Plan
from medsam_edge.calibration.quantize import quantize
from medsam_edge.calibration.scores import NO_LIMITS, Limits, MaskScore
from medsam_edge.calibration.speed import Speed
from medsam_edge.calibration.three_sets import Counts, Sources, ThreeSets, three_sets
from medsam_edge.calibration.wanted import has_bf16
from medsam_edge.calibration.work import Entry
from medsam_edge.runtime import load
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, CaseError, ExitCode, UsageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.manifest import WeightsEntry

pytest.importorskip("onnxruntime")
MIXED = "openvino:CPU:int8+bf16"
PLAN = Plan("onnxruntime", "int8", NO_LIMITS, margin=1.0, rounds=2)
STRICT = replace(PLAN, limits=Limits(0, 0, 1, 0))


def quiet(_what: str, _done: int, _all: int) -> None:
    """Say nothing."""


def content(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cases() -> ThreeSets:
    return three_sets(Sources(counts=Counts(2, 2, LEAST_PATIENTS)), quiet)


@pytest.fixture
def bundle(real_bundle: Path) -> Bundle:
    return open_bundle(real_bundle)


@pytest.fixture
def always_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speed, "pays", lambda _self, _margin: True)


@pytest.fixture
def never_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speed, "pays", lambda _self, _margin: False)


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> Callable[[CaseSet], None]:
    """Have every mask of some cases lose 0.3; one layer in int8 by itself changes none."""
    real = trial._scores

    def spoil(cases: CaseSet) -> None:
        def scores(ref: CaseRef, entry: Entry) -> list[MaskScore]:
            lost = 0.3 if ref in cases.refs else 0.0
            return [replace(one, parity=one.parity - lost, drop=one.drop + lost) for one in real(ref, entry)]

        monkeypatch.setattr(trial, "_scores", scores)

    return spoil


def again(bundle: Bundle, cases: ThreeSets, plan: Plan, work: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Ask once more, where nothing may be computed."""
    with monkeypatch.context() as patched:
        patched.setattr(verb, "_Run", None)
        return quantize(open_bundle(bundle.root), cases, plan, work, quiet)


@pytest.mark.usefixtures("never_pays")
@pytest.mark.parametrize(("plan", "code"), [(STRICT, ExitCode.PARITY), (PLAN, ExitCode.SPEED)], ids=["4", "5"])
def test_a_refusal_is_remembered_and_the_bundle_is_as_it_was(
    bundle: Bundle,
    cases: ThreeSets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    worse: Callable[[CaseSet], None],
    plan: Plan,
    code: ExitCode,
) -> None:
    before, work = content(bundle.root), tmp_path / "work"
    worse(cases.evaluation)
    first = quantize(bundle, cases, plan, work, quiet)
    assert (first.chosen, first.reused, exit_code(first)) == (None, False, code)
    second = again(bundle, cases, plan, work, monkeypatch)
    assert second == replace(first, reused=True)
    assert exit_code(second) == code
    assert content(bundle.root) == before


@pytest.mark.usefixtures("never_pays")
def test_a_refusal_is_of_its_own_limits_and_cases(
    bundle: Bundle, cases: ThreeSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize(bundle, cases, PLAN, tmp_path / "work", quiet)
    others = three_sets(Sources(counts=Counts(2, 2, LEAST_PATIENTS + 1)), quiet)
    for asked, plan in ((cases, replace(PLAN, margin=1.2)), (others, PLAN)):
        with pytest.raises(AttributeError):  # it sets about computing
            again(bundle, asked, plan, tmp_path / "work", monkeypatch)


@pytest.mark.usefixtures("always_pays")
def test_what_fails_on_the_evaluation_cases_is_refused_with_figures_and_not_tuned(
    bundle: Bundle, cases: ThreeSets, tmp_path: Path, worse: Callable[[CaseSet], None]
) -> None:
    worse(cases.evaluation)
    outcome = quantize(bundle, cases, replace(PLAN, limits=Limits()), tmp_path / "work", quiet)
    assert (outcome.chosen, exit_code(outcome)) == (None, ExitCode.PARITY)
    int8 = outcome.candidates[-1]
    assert int8.kept_float == ()
    assert [one.objections for one in outcome.tried] == [()]
    first, *modalities, tail, low = int8.objections
    assert first.startswith("the mean DSC drop may be 0.3")
    assert {text.partition(" loses 0.3")[0] for text in modalities} == {ref.modality for ref in cases.evaluation.refs}
    assert tail.startswith("the 5th percentile of DSC with float32 may be")
    assert low == "the share of masks below 0.9 may be 100.00% (limit 2.00%)"


@pytest.mark.usefixtures("always_pays")
def test_what_kept_the_limits_may_serve_and_nothing_else(bundle: Bundle, cases: ThreeSets, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert quantize(bundle, cases, replace(PLAN, target="openvino"), tmp_path / "work", quiet).chosen
    root = bundle.root
    judged = open_bundle(root).entry("encoder", "int8", "openvino").judged
    assert judged == ("openvino:CPU:int8", *((MIXED,) if has_bf16() else ()))
    load(root, "openvino:CPU:int8").close()
    with pytest.raises(BundleError, match=r"judged on openvino:CPU:int8\+f16; found judged on openvino:CPU:int8"):
        load(root, "openvino:CPU:int8+f16")
    with pytest.raises(BundleError, match="judged on openvino:GPU:int8"):
        load(root, "openvino:GPU:int8")


@pytest.mark.usefixtures("always_pays")
@pytest.mark.skipif(not has_bf16(), reason="this processor has no bf16")
def test_int8_beside_bf16_alone_is_kept_and_answers_to_its_own_name_only(
    bundle: Bundle, cases: ThreeSets, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    plan = replace(PLAN, target="openvino", precision="int8+bf16")
    outcome = quantize(bundle, cases, plan, tmp_path / "work", quiet)
    assert list(map(str, outcome.candidates)) == ["openvino", MIXED, f"{MIXED}, attention too"]
    assert outcome.chosen == MIXED
    with load(bundle.root, outcome.chosen) as predictor:
        assert predictor.served_by.precision == "int8+bf16"
    with pytest.raises(BundleError, match=r"judged on openvino:CPU:int8; found judged on openvino:CPU:int8\+bf16 only"):
        load(bundle.root, "openvino:CPU:int8")
    with load(bundle.root, "openvino:CPU:int8", unjudged=True) as predictor:
        assert predictor.served_by.precision == "int8"
    (report,) = verify(open_bundle(bundle.root), ["openvino:CPU:int8"], ()).backends
    assert report.served_by.precision == "int8"


@pytest.mark.usefixtures("always_pays")
def test_a_bundle_keeps_int8_for_both_targets(
    bundle: Bundle, cases: ThreeSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    plans = [replace(PLAN, target=target) for target in ("onnxruntime", "openvino")]
    for plan in plans:
        assert quantize(open_bundle(bundle.root), cases, plan, tmp_path / "work", quiet).chosen
    after = open_bundle(bundle.root)
    kept = [(entry.targets, entry.judged[0]) for entry in after.manifest.graphs if entry.precision == "int8"]
    assert sorted(kept) == [
        (("onnxruntime",), "onnxruntime:CPU:int8"),
        (("openvino",), "openvino:CPU:int8"),
    ]
    assert {"calibration-onnxruntime", "calibration-openvino"} < {one.name for one in after.manifest.records}
    for plan in plans:
        load(after, f"{plan.target}:CPU:int8").close()
        assert again(bundle, cases, plan, tmp_path / "work", monkeypatch).reused


@pytest.mark.usefixtures("always_pays")
def test_random_weights_are_never_refused_and_prove_nothing(
    tmp_path: Path, real_bundle: Path, write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...]
) -> None:
    trained = open_bundle(real_bundle)
    graphs = {part: (real_bundle / trained.entry(part, "fp32").file).read_bytes() for part in ("encoder", "decoder")}
    root = write_bundle(tmp_path / "random.bundle", tiny_golden, False, graphs=graphs)
    few = three_sets(Sources(counts=Counts(2, 1, 2)), quiet)
    outcome = quantize(open_bundle(root), few, STRICT, tmp_path / "work", quiet)
    assert outcome.chosen
    assert not outcome.gating
    assert outcome.limits == NO_LIMITS
    with load(root, outcome.chosen) as predictor:
        assert not predictor.served_by.trained


@pytest.mark.usefixtures("always_pays")
def test_the_float32_model_is_let_go_before_the_timing(
    bundle: Bundle, cases: ThreeSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ReferenceType[Int8Graphs]] = []
    alive: list[bool] = []

    def noted(*given: object) -> Int8Graphs:
        graphs = Int8Graphs(*given)  # type: ignore[arg-type]
        made.append(ref(graphs))
        return graphs

    def watch(what: str, _done: int, _all: int) -> None:
        if what.startswith("timing"):
            alive.append(made[0]() is not None)

    monkeypatch.setattr(encoders, "Int8Graphs", noted)
    quantize(bundle, cases, PLAN, tmp_path / "work", watch)
    assert alive == [False, False]


def test_too_few_patients_are_refused_before_anything_is_computed(bundle: Bundle, tmp_path: Path) -> None:
    few = three_sets(Sources(counts=Counts(2, 2, LEAST_PATIENTS - 1)), quiet)
    with pytest.raises(CaseError, match="at least 8 patients to judge on; found 7 patients"):
        quantize(bundle, few, PLAN, tmp_path / "work", quiet)
    assert not (tmp_path / "work").exists()


@pytest.mark.usefixtures("always_pays")
def test_modalities_of_few_patients_are_named(bundle: Bundle, cases: ThreeSets, tmp_path: Path) -> None:
    outcome = quantize(bundle, cases, PLAN, tmp_path / "work", quiet)
    modalities = {one.modality for one in cases.evaluation.refs}
    said = [text for text in outcome.warnings if "too few for a bound" in text]
    assert len(said) == len(modalities) > 1
    drop = outcome.candidates[-1].drop
    assert drop is not None
    assert {group.drop_bound for group in drop.modalities} == {None}
    assert drop.bounds is not None


def test_int8_of_an_encoder_with_weights_beside_it_is_refused(bundle: Bundle, cases: ThreeSets, tmp_path: Path) -> None:
    beside = (WeightsEntry("graphs/0.bin", "0" * 64, 1),)
    graphs = tuple(replace(entry, weights=beside) for entry in bundle.manifest.graphs)
    large = replace(bundle, manifest=replace(bundle.manifest, graphs=graphs))
    for plan in (PLAN, replace(PLAN, target="openvino", precision="auto")):
        with pytest.raises(UsageError, match=r"one ONNX file.*--precision bf16"):
            quantize(large, cases, plan, tmp_path / "work", quiet)


SCRIPT = """
import os, runpy, sys
runpy.run_path(sys.argv[1])
from pathlib import Path
from medsam_edge.calibration.plan import Plan
from medsam_edge.calibration.quantize import quantize
from medsam_edge.calibration.scores import NO_LIMITS
from medsam_edge.calibration.speed import Speed
from medsam_edge.calibration.three_sets import Counts, Sources, three_sets
from medsam_edge.runtime.bundle import open_bundle
Speed.pays = lambda _self, _margin: True
quiet, told = (lambda *_: None), []
def kill(what, _done, _all):
    told.append(what)
    if sys.argv[4] in what:
        os._exit(9)
sets = three_sets(Sources(counts=Counts(2, 2, 8)), quiet)
plan = Plan("onnxruntime", "int8", NO_LIMITS, margin=1.0, rounds=2)
print(quantize(open_bundle(sys.argv[2]), sets, plan, Path(sys.argv[3]), kill).chosen)
"""


@pytest.mark.parametrize("where", ["balanced", "int8 on", "timing"])
def test_a_killed_run_leaves_the_old_bundle_and_its_results(bundle: Bundle, tmp_path: Path, where: str) -> None:
    before, work = content(bundle.root), tmp_path / "work"

    def run(place: str) -> subprocess.CompletedProcess[str]:
        conftest = Path(__file__).parents[1] / "conftest.py"
        line = [sys.executable, "-c", SCRIPT, str(conftest), str(bundle.root), str(work), place]
        return subprocess.run(line, capture_output=True, text=True, timeout=300)

    assert run(where).returncode == 9
    assert content(bundle.root) == before
    results = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    assert results
    done = run("nowhere")
    assert (done.returncode, done.stdout) == (0, "onnxruntime:CPU:int8\n"), done.stderr
    assert {path: path.stat().st_mtime_ns for path in results} == results
    assert open_bundle(bundle.root).entry("encoder", "int8", "onnxruntime")
