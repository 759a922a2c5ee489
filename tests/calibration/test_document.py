"""The record of a calibration: written, read, and told apart from what is none."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge import __version__
from medsam_edge.calibration.case_record import summarised, to_record
from medsam_edge.calibration.case_set import CaseRef, CaseSet
from medsam_edge.calibration.commit import committed
from medsam_edge.calibration.document import SCHEMA, calibrations, earlier, key_hash, new_document, parse
from medsam_edge.calibration.outcome import LayerDecision, Outcome
from medsam_edge.calibration.scores import Limits
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import BundleError

MakeRef = Callable[..., CaseRef]
OUTCOME = Outcome(
    bundle="/a/bundle",
    digest="0" * 64,
    target="onnxruntime",
    gating=True,
    limits=Limits(),
    margin=1.1,
    warnings=(),
    recipes=(),
    sensitivities=(),
    tried=(),
    layers=(LayerDecision("blocks.0.attn.qkv", "blocks.0", 0.03125), LayerDecision("neck.0", "neck", None)),
    candidates=(),
    notes=(),
    peak_mib=1.5,
    reused=False,
    chosen=None,
)


@pytest.fixture
def key(ref: MakeRef) -> dict[str, object]:
    cases = CaseSet("csv", (ref("a", "CT", "p"), ref("b", "MR"), ref("c", "MR", "p")))
    return {"cases": [to_record(cases, purpose="evaluation", seed=3, profile="medsam")], "plan": {"target": "x"}}


@pytest.fixture
def document(key: dict[str, object]) -> dict[str, object]:
    made: dict[str, object] = json.loads(json.dumps(new_document(key, OUTCOME)))
    return made


@pytest.fixture
def written(own_bundle: Path) -> Callable[[dict[str, object]], Path]:
    """A bundle with this record."""

    def write(record: dict[str, object]) -> Path:
        committed(open_bundle(own_bundle), "onnxruntime", None, record)
        return own_bundle

    return write


def test_a_record_says_what_was_decided_with_what_and_where(document: dict[str, object]) -> None:
    assert (document["schema"], document["toolkit_version"]) == (SCHEMA, __version__)
    assert {"python", "numpy", "onnx", "onnxruntime"} <= set(document["libraries"])  # type: ignore[call-overload]
    read = parse(document)
    assert read.processor
    assert read.cpus >= 1
    assert read.outcome == replace(OUTCOME, bundle="", digest="")  # a copy lies elsewhere
    assert [layer.scale for layer in read.outcome.layers] == [0.03125, None]


def test_cases_are_summed_up(document: dict[str, object]) -> None:
    (cases,) = parse(document).cases
    assert (cases.purpose, cases.source, cases.seed) == ("evaluation", "csv", 3)
    assert (cases.cases, cases.patients) == (3, 2)
    assert cases.modalities == (("MR", 2), ("CT", 1))
    assert len(cases.digest) == 64


def test_the_same_images_have_one_digest_whatever_their_order(ref: MakeRef) -> None:
    def digest(*names: str) -> str:
        cases = CaseSet("csv", tuple(ref(name, "CT") for name in sorted(names)))
        record = to_record(cases, purpose="selection", seed=0, profile="medsam")
        rows = {row["id"]: row for row in record["cases"]}  # type: ignore[attr-defined]
        return summarised({**record, "cases": [rows[name] for name in names]}).digest

    assert digest("a", "b") == digest("b", "a") != digest("a", "c")


def test_what_is_kept_for_the_same_inputs_is_found_again(
    written: Callable[[dict[str, object]], Path], document: dict[str, object], key: dict[str, object]
) -> None:
    bundle = open_bundle(written(document))
    found = earlier(bundle, "onnxruntime", key)
    assert found == replace(OUTCOME, bundle=str(bundle.root), digest=bundle.manifest.digest, reused=True)
    assert earlier(bundle, "onnxruntime", {**key, "plan": {}}) is None
    assert earlier(bundle, "openvino", key) is None


def test_a_record_of_another_version_is_no_earlier_result(
    written: Callable[[dict[str, object]], Path], document: dict[str, object], key: dict[str, object]
) -> None:
    bundle = open_bundle(written({**document, "schema": "medsam-edge/record/calibration/1"}))
    assert earlier(bundle, "onnxruntime", key) is None


def test_a_bundle_tells_its_calibrations(
    written: Callable[[dict[str, object]], Path], document: dict[str, object]
) -> None:
    (found,) = calibrations(open_bundle(written(document)))
    assert (found.kind, found.problem, found.document) == ("calibration-onnxruntime", "", document)
    assert found.record is not None
    assert found.record.key_sha256 == key_hash(found.record.key)
    assert found.cases[0].cases == 3


def changed(document: dict[str, object], **changes: object) -> dict[str, object]:
    return {**document, **changes}


@pytest.mark.parametrize(("changes", "said"), [
    ({"schema": "medsam-edge/record/calibration/99"}, "record/calibration/99"),
    ({"schema": None}, "found None"),
    ({"outcome": {"chosen": 1}}, "no such key"),
    ({"later": 1}, "'later' too"),
    ({"key": {}}, "lists its cases"),
    ({"key": {"cases": [{}]}}, "record of cases of schema"),
    ({"cpus": "two"}, "calibration.cpus to be int"),
])  # fmt: skip
def test_what_cannot_be_read_is_told_and_still_there_whole(
    written: Callable[[dict[str, object]], Path], document: dict[str, object], changes: dict[str, object], said: str
) -> None:
    (found,) = calibrations(open_bundle(written(changed(document, **changes))))
    assert found.record is None
    assert said in found.problem
    assert found.document == changed(document, **changes)
    with pytest.raises(BundleError, match="expected"):
        parse(found.document).cases  # noqa: B018


def test_other_records_are_none_of_ours(tiny_bundle: Path) -> None:
    assert calibrations(open_bundle(tiny_bundle)) == ()


def test_reading_needs_neither_onnx_nor_torch() -> None:
    program = "import sys, medsam_edge.calibration.document; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"onnx", "torch", "onnxruntime", "openvino", "scipy", "matplotlib"}
