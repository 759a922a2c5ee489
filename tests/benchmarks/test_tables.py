"""Every table, filled with the longest things that one meets, 80 columns wide."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.benchmarks import tables
from medsam_edge.benchmarks.verification import BackendReport, TaskGroup, VerifyReport
from medsam_edge.runtime.backends.choose import BackendStatus
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.doctor import Diagnosis, ExtraStatus
from medsam_edge.runtime.manifest import WeightsEntry
from medsam_edge.runtime.metrics import Summary
from medsam_edge.runtime.parity import Check, Group, Limits
from medsam_edge.runtime.predictor import ServedBy
from medsam_edge.runtime.segmentation import Written
from medsam_edge.runtime.stored import BundleState, StoredBlob
from rich.console import Console, RenderableType

LONG = "a-rather-long-name-of-a-case-from-a-hospital-with-many-departments-and-scanners-000123"
SERVED = ServedBy("openvino", "2026.4.1", "GPU.1", "bf16", {})
SCORES = Summary(12345, 0.98765, 0.91234, 0.01234)
GROUPS = tuple(Group(name, SCORES, SCORES) for name in ("Dermoscopy", "Ultrasound", "all"))


def flat(text: str) -> str:
    """What stands in a table, wherever it was wrapped."""
    return "".join(text.split())


def rendered(what: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80, markup=False, color_system=None).print(what)
    return stream.getvalue()


def whole(what: RenderableType) -> str:
    """The text of a table that fits its place and of which nothing was cut off."""
    text = rendered(what)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    return text


def verify_report(gating: bool = True, passed: bool = True) -> VerifyReport:
    checks = (
        Check("tensor", True, f"lowest cosine 0.999912 ({LONG}), largest error 1.67e-06"),
        Check("128 boxes at once = one by one", passed, "lowest DSC 0.999998"),
    )
    tasks = tuple(TaskGroup(group.modality, group, group, group) for group in GROUPS)
    one = BackendReport(SERVED, checks, "8 golden cases and 200 cases answered by the source checkpoint", GROUPS, tasks)
    return VerifyReport("b", "0" * 64, gating, Limits(), (one, replace(one, served_by=replace(SERVED, device="CPU"))))


def written(name: str = f"/data/{LONG}/{LONG}.png") -> Written:
    return Written(
        name, 125, (), 123456.7, SERVED, f"{name}_labels.png", f"{name}_overlay.png", f"{name}_report.json", None
    )


def diagnosis(here: bool) -> Diagnosis:
    found, missing = ("2026.4.1", None) if here else (None, "pip install 'medsam-edge[openvino]'")
    devices = ("CPU", "GPU.0", "GPU.1", "NPU", "TensorRT", "CUDA") if here else ()
    packages = ("torch 2.13.0+cpu", "onnx 1.23.2", "onnxscript 0.7.2", "safetensors 0.8.0")
    extra = ExtraStatus("export", packages if here else (), (), missing)
    features = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    backends = (BackendStatus("onnxruntime", found, devices, missing),)
    return Diagnosis("3.12.1", "Linux x86_64", "Intel(R) Xeon(R)", features, 1023.5, backends, (extra,) * 2)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.mark.parametrize("passed", [True, False])
def test_checks_fit_and_nothing_of_a_finding_is_lost(passed: bool) -> None:
    found = {"openvino GPU.1 bf16": verify_report(passed=passed).backends[0].checks}
    text = whole(tables.checks_tables(f"{'bundle/' * 20} written", found))
    assert text.count("FAIL") == (not passed)
    assert text.count("pass") == 1 + passed
    assert "0.999998" in text


def test_verification_fits() -> None:
    text = whole(tables.verify_tables(verify_report()))
    assert text.count("Masks against the source's:") == 2
    assert text.count("Masks against the reference masks:") == 2
    for figure in ("12345", "0.98765", "0.91234", "0.01234", "0.988", "box filled", "ellipse"):
        assert figure in text
    assert tables.LATENCY_ONLY not in text


def test_random_weights_are_said_to_prove_nothing() -> None:
    text = whole(tables.verify_tables(verify_report(gating=False)))
    assert text.startswith(tables.LATENCY_ONLY)
    assert text.count("latency only") == 5
    assert " pass " not in text.removeprefix(tables.LATENCY_ONLY)


def test_a_report_without_backends_or_tasks_fits() -> None:
    report = verify_report()
    assert not rendered(tables.verify_tables(replace(report, backends=()))).strip()
    bare = replace(report.backends[0], tasks=())
    assert "reference masks" not in whole(tables.verify_tables(replace(report, backends=(bare,))))


def test_a_path_that_was_written_can_be_copied_however_long_it_is() -> None:
    lines = tables.written_lines([written(), written("a.png")]).splitlines()
    assert "a.png: 125 boxes, 123457 ms" in lines
    assert f"  {written().overlay}" in lines
    assert "  a.png_report.json" in lines


def test_an_empty_mask_is_not_passed_over_in_silence() -> None:
    some = replace(written("a.png"), empty=(8, 17))
    assert tables.written_lines([some]).startswith("a.png: 125 boxes, 2 with an EMPTY mask: 8, 17, 123457 ms")
    assert tables.written_lines([replace(written("a.png"), objects=1)]).startswith("a.png: 1 box, ")


def test_a_bundle_fits(bundle: Bundle) -> None:
    text = rendered(tables.inspect_tables(bundle))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.count("…") == 1  # after the 16 digits of the weights' hash
    for entry in (*bundle.manifest.graphs, *bundle.manifest.golden, *bundle.manifest.records):
        assert entry.sha256[:16] in text
    for word in ("tiny (sam_vit), trained", "tiny.pth, weights 1111111111111111…", "image_size 64", "mr-three"):
        assert word in text
    assert bundle.manifest.digest in text


def test_a_bundle_of_random_weights_says_so(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, model=replace(bundle.manifest.model, trained=False))
    assert flat(tables.LATENCY_ONLY) in flat(rendered(tables.inspect_tables(replace(bundle, manifest=manifest))))


def test_weights_beside_a_graph_are_shown(bundle: Bundle) -> None:
    encoder = replace(bundle.manifest.graphs[0], weights=(WeightsEntry("graphs/c.bin", "c" * 64, 2_549_000_000),))
    opened = replace(bundle, manifest=replace(bundle.manifest, graphs=(encoder,)))
    (row,) = [line.split() for line in rendered(tables.inspect_tables(opened)).splitlines() if "cccc" in line]
    assert row == ["weights", "encoder", "fp32", "plain", "c" * 16, "2549.00"]


def test_a_state_folder_fits(bundle: Bundle) -> None:
    serves = StoredBlob("encoder", "openvino", "GPU.1", "bf16", 16, "a" * 64, 368_161_632, True, "")
    reason = f"version was 2026.3, is {LONG}"
    stale = replace(serves, part="decoder", threads=None, sha256="b" * 64, reusable=False, reason=reason)
    found = BundleState(bundle.root, bundle.manifest, Path("/state"), "state.json cannot be believed", (serves, stale))
    text = rendered(tables.state_tables(found))
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in (
        "aaaaaaaa",
        "bbbbbbbb",
        "reuses it",
        "368.16",
        "state.json cannot be believed",
        bundle.manifest.digest,
    ):
        assert flat(word) in flat(text)
    assert "nothing for this bundle" in rendered(tables.state_tables(replace(found, blobs=())))


@pytest.mark.parametrize("here", [True, False])
def test_a_diagnosis_fits_and_its_commands_can_be_copied(here: bool) -> None:
    text = whole(tables.doctor_tables(diagnosis(here)))
    mixed = ExtraStatus("baseline", ("opencv-python-headless 5.0.0",) * 2, (), "pip install 'medsam-edge[baseline]'")
    longest = replace(diagnosis(here), extras=(*diagnosis(here).extras, mixed))
    assert "pip install 'medsam-edge[baseline]'" in whole(tables.doctor_tables(longest))
    if here:
        assert "safetensors 0.8.0" in text
        assert "GPU.1" in text
    else:
        assert text.count("pip install 'medsam-edge[openvino]'") == 3
