"""Graphs whose weights lie beside them, made of the tiny model by moving the limit down."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from medsam_edge.export import pipeline, separate_weights, trials
from medsam_edge.export.graphs import Graph
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.pipeline import ExportResult, export_bundle
from medsam_edge.export.separate_weights import ALIGNMENT, SMALLEST_MOVED
from medsam_edge.export.trials import opened
from medsam_edge.export.variants import TARGETS, chosen, export_graphs
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import BundleError, StorageError
from medsam_edge.runtime.loading import load
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import Case

DEFAULT = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def separate(sam: Sam) -> tuple[Graph, ...]:
    """Every graph of the tiny model, none holding its weights itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate_weights, "LARGEST_WITHIN", 1000)
        return export_graphs(sam, medsam(64), tuple(TARGETS))


@pytest.fixture(scope="module")
def bundled(
    tmp_path_factory: pytest.TempPathFactory,
    separate: tuple[Graph, ...],
    checkpoint: Path,
    phantom_cases: tuple[Case, ...],
) -> ExportResult:
    """What `export` writes of them for the default targets; nobody may change it."""
    graphs = [replace(graph, targets=DEFAULT) for graph in separate if "openvino" in graph.targets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "export_graphs", lambda *_: graphs)
        return export_bundle(checkpoint, tmp_path_factory.mktemp("separate") / "b", phantom_cases)


def export_encoder(sam: Sam) -> Graph:
    return export_graphs(sam, medsam(64), form="plain")[0]


def tensors(graph: Graph) -> list[onnx.TensorProto]:
    return list(onnx.load_from_string(graph.data).graph.initializer)


def places(graph: Graph) -> dict[str, dict[str, str]]:
    found = {one.name: {entry.key: entry.value for entry in one.external_data} for one in tensors(graph)}
    return {name: place for name, place in found.items() if place}


def test_what_fits_stays_one_file_and_one_byte_more_does_not(
    sam: Sam, encoder_graph: Graph, small_graphs: Sequence[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(not graph.weights and not places(graph) for graph in (encoder_graph, *small_graphs))
    size = sum(len(one.raw_data) for one in tensors(encoder_graph))
    monkeypatch.setattr(separate_weights, "LARGEST_WITHIN", size)
    assert export_encoder(sam) == encoder_graph
    monkeypatch.setattr(separate_weights, "LARGEST_WITHIN", size - 1)
    once, again = export_encoder(sam), export_encoder(sam)
    assert len(once.weights) == 1
    assert once == again


def test_the_graph_names_its_weights_by_their_hash_and_shapes_stay_inside(separate: tuple[Graph, ...]) -> None:
    for graph in separate:
        (weights,) = graph.weights
        assert weights.name == f"{hashlib.sha256(weights.data).hexdigest()}.bin"
        assert {place["location"] for place in places(graph).values()} == {weights.name}
        for one in tensors(graph):
            assert one.name in places(graph) or len(one.raw_data) < SMALLEST_MOVED or one.name.startswith("attend_")
        assert all(int(place["offset"]) % ALIGNMENT == 0 for place in places(graph).values())


def test_no_value_is_another(separate: tuple[Graph, ...], small_graphs: tuple[Graph, ...]) -> None:
    for graph in separate:
        whole = chosen(small_graphs, graph.spec.name, graph.precision, graph.targets[0])
        assert whole.form == graph.form
        wanted = {one.name: onnx.numpy_helper.to_array(one) for one in tensors(whole)}
        assert {one.name for one in tensors(graph)} == set(wanted)
        for name, place in places(graph).items():
            start = int(place["offset"])
            assert graph.weights[0].data[start : start + int(place["length"])] == wanted[name].tobytes()


def test_forms_of_one_precision_share_one_file(separate: tuple[Graph, ...]) -> None:
    tiled, concat = (chosen(separate, "encoder", "fp32", target) for target in ("openvino", "tensorrt"))
    half = chosen(separate, "encoder", "fp16", "tensorrt")
    assert tiled.data != concat.data
    assert tiled.weights == concat.weights != half.weights


@pytest.mark.parametrize("target", [*DEFAULT, "tensorrt"])
def test_both_runtimes_answer_as_they_do_from_one_file(
    separate: tuple[Graph, ...],
    small_graphs: tuple[Graph, ...],
    phantom_cases: tuple[Case, ...],
    target: str,
    tmp_path: Path,
) -> None:
    backend = trials.CHECKED_ON.get(target, target)
    pytest.importorskip(backend)
    case, answers = phantom_cases[2], []
    for name, graphs in {"separate": separate, "whole": small_graphs}.items():
        pair = [chosen(graphs, part, "fp32", target) for part in ("encoder", "decoder")]
        (tmp_path / name).mkdir()
        with opened(backend, pair, medsam(64), tmp_path / name) as predictor:
            answers.append(predictor.segment(case.image, case.boxes).low_res_logits)
    np.testing.assert_array_equal(*answers)


def test_a_graph_that_is_not_valid_is_found_though_its_weights_lie_elsewhere(separate: tuple[Graph, ...]) -> None:
    model = onnx.load_from_string(separate[0].data)
    separate_weights.check(model, separate[0].weights)
    model.graph.node[-1].output[0] = "nowhere"
    with pytest.raises(onnx.checker.ValidationError):
        separate_weights.check(model, separate[0].weights)


def test_a_full_disk_is_an_error_of_ours(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(separate_weights, "LARGEST_WITHIN", 1000)
    monkeypatch.setattr(separate_weights, "_move", full)
    with pytest.raises(StorageError, match="a temporary file that can be written"):
        export_encoder(sam)


def test_export_lists_them_and_checks_such_graphs_on_every_backend(bundled: ExportResult) -> None:
    manifest = open_bundle(bundled.bundle).manifest
    listed = [entry.file for graph in manifest.graphs for entry in graph.weights]
    assert len(listed) == len(manifest.graphs) == 2
    assert sorted(f"graphs/{path.name}" for path in (bundled.bundle / "graphs").glob("*.bin")) == sorted(listed)
    assert set(bundled.parity) == set(trials.available())
    assert all(check.passed for checks in bundled.parity.values() for check in checks)


@pytest.mark.parametrize("backend", DEFAULT)
def test_the_bundle_draws_the_sources_masks(bundled: ExportResult, backend: str) -> None:
    pytest.importorskip(backend)
    case = open_bundle(bundled.bundle).golden_cases()[2]
    with load(bundled.bundle, backend, threads=1) as predictor:
        found = predictor.segment(case.image, case.boxes)
    assert np.abs(found.low_res_logits - case.low_res_logits).max() < 1e-4 * np.abs(case.low_res_logits).max()


def test_a_compiled_model_spares_reading_them_and_without_it_they_are_checked(
    bundled: ExportResult, phantom_cases: tuple[Case, ...], tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    root, case, state = Path(shutil.copytree(bundled.bundle, tmp_path / "b")), phantom_cases[0], tmp_path / "state"
    with load(root, "openvino", state=state) as predictor:
        answer = predictor.segment(case.image, case.boxes).low_res_logits
    for path in (root / "graphs").glob("*.bin"):
        path.write_bytes(bytes(path.stat().st_size))
    with load(root, "openvino", state=state) as predictor:
        assert {status.outcome for status in predictor.cache.values()} == {"reused"}
        np.testing.assert_array_equal(predictor.segment(case.image, case.boxes).low_res_logits, answer)
    with pytest.raises(BundleError, match=r"graphs/[0-9a-f]*\.bin as exported"):
        load(root, "openvino", state=tmp_path / "another")
