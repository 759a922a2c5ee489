"""The graph contract (docs/bundle.md), read off the bytes that ship, and what runtimes compute from them."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.export.graphs import IR_VERSION, OPSET, Graph, finished, trace_encoder
from medsam_edge.export.models.config import MEDSAM_VIT_B
from medsam_edge.export.models.sam import Sam
from medsam_edge.runtime.backends.base import BackendChoice, GraphSource, HostTensor
from medsam_edge.runtime.backends.choose import open_backend
from medsam_edge.runtime.contract import decoder_part, encoder_part
from medsam_edge.runtime.manifest import PartSpec
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import AnyArray

NEWEST_OPSET, NEWEST_IR = 20, 10  # that the contract allows
LIMITS = {"onnxruntime": 1e-5, "openvino": 1e-4}  # of the largest value
Run = Callable[[Graph, Mapping[str, AnyArray]], dict[str, AnyArray]]


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def graph(request: pytest.FixtureRequest) -> Graph:
    made: Graph = request.getfixturevalue(f"{request.param}_graph")
    return made


@pytest.fixture(scope="module")
def model(graph: Graph) -> onnx.ModelProto:
    return onnx.load_from_string(graph.data)


def tensors_of(values: list[onnx.ValueInfoProto]) -> list[tuple[str, str, tuple[int | str, ...]]]:
    types = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}
    kinds = [(value.name, value.type.tensor_type) for value in values]
    return [
        (name, types[kind.elem_type], tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim))
        for name, kind in kinds
    ]


def stated(part: PartSpec, side: str) -> list[tuple[str, str, tuple[int | str, ...]]]:
    return [(spec.name, spec.dtype, tuple(spec.shape)) for spec in getattr(part, side)]


def test_names_types_and_shapes_are_those_that_the_manifest_will_state(graph: Graph, model: onnx.ModelProto) -> None:
    assert tensors_of(list(model.graph.input)) == stated(graph.spec, "inputs")
    assert tensors_of(list(model.graph.output)) == stated(graph.spec, "outputs")


def test_medsams_encoder_has_the_shapes_of_the_contract() -> None:
    part = encoder_part(MEDSAM_VIT_B.image_size, MEDSAM_VIT_B.grid)
    assert stated(part, "inputs") == [("image", "uint8", (1, 3, 1024, 1024))]
    assert stated(part, "outputs") == [("image_embedding", "float32", (1, 256, 64, 64))]


def test_medsams_decoder_has_the_shapes_of_the_contract() -> None:
    part = decoder_part(MEDSAM_VIT_B.grid)
    assert stated(part, "inputs") == [
        ("image_embedding", "float32", (1, 256, 64, 64)),
        ("boxes", "float32", ("N", 4)),
    ]
    assert stated(part, "outputs") == [
        ("low_res_logits", "float32", ("N", 1, 256, 256)),
        ("iou_predictions", "float32", ("N", 1)),
    ]


def test_old_runtimes_can_read_the_versions(model: onnx.ModelProto) -> None:
    assert OPSET <= NEWEST_OPSET
    assert model.ir_version == IR_VERSION <= NEWEST_IR
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]


def test_there_are_only_standard_operators_in_one_flat_graph(model: onnx.ModelProto) -> None:
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)


def test_the_file_is_self_contained(model: onnx.ModelProto) -> None:
    assert all(weight.data_location == onnx.TensorProto.DEFAULT for weight in model.graph.initializer)


def test_onnxs_own_checker_passes(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)


def test_norms_are_layer_normalisation_nodes(graph: Graph, model: onnx.ModelProto) -> None:
    counts = Counter(node.op_type for node in model.graph.node)
    # Two blocks with two norms and two in the neck; two blocks with four, one behind them and one in the upscaling.
    assert counts["LayerNormalization"] == {"encoder": 6, "decoder": 10}[graph.spec.name]
    assert counts["ReduceMean"] == counts["Sqrt"] == counts["ReduceL2"] == 0


def test_the_image_is_cast_before_anything_else_happens_to_it(encoder_graph: Graph) -> None:
    nodes = onnx.load_from_string(encoder_graph.data).graph.node
    assert [node.op_type for node in nodes if "image" in node.input] == ["Cast"]


def test_the_divisor_of_a_constant_image_is_1_which_float16_can_hold(encoder_graph: Graph) -> None:
    graph = onnx.load_from_string(encoder_graph.data).graph
    (clip,) = [node for node in graph.node if node.op_type == "Clip"]
    (least,) = [weight for weight in graph.initializer if weight.name == clip.input[1]]
    assert onnx.numpy_helper.to_array(least) == 1.0


def test_the_embedding_is_not_repeated_for_each_box(decoder_graph: Graph) -> None:
    reached = {"image_embedding"}
    for node in onnx.load_from_string(decoder_graph.data).graph.node:
        if reached & set(node.input):
            assert node.op_type not in {"Expand", "Tile"}
            reached |= set(node.output)
    assert "low_res_logits" in reached


def test_nothing_of_the_exporting_machine_is_inside(graph: Graph, model: onnx.ModelProto) -> None:
    root = Path(torch.__file__).parents[3]
    for trace in (b"/home", b"/tmp", b".py", b"site-packages", b"torch", bytes(Path.cwd()), bytes(root)):
        assert trace not in graph.data
    nodes, values = model.graph.node, (*model.graph.input, *model.graph.output, *model.graph.value_info)
    assert not any(each.metadata_props or each.doc_string for each in (model, model.graph, *nodes, *values))


def test_the_same_weights_give_the_same_bytes(sam: Sam, encoder_graph: Graph) -> None:
    assert finished(trace_encoder(sam, medsam(64), fused=False).model) == encoder_graph.data


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture
def run(tmp_path: Path, backend: str) -> Run:
    def run_(graph: Graph, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        path = tmp_path / f"{graph.spec.name}.onnx"
        path.write_bytes(graph.data)
        session = open_backend(GraphSource(path, graph.spec, ""), BackendChoice(backend, threads=1))
        given = {name: HostTensor(array) for name, array in feeds.items()}
        return {name: tensor.numpy() for name, tensor in session.run(given).items()}

    return run_


def error(ours: AnyArray, theirs: torch.Tensor) -> float:
    reference = theirs.numpy()
    assert ours.shape == reference.shape
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


def test_the_encoder_computes_what_torch_computes(
    run: Run, backend: str, encoder_graph: Graph, sam: Sam, image: torch.Tensor
) -> None:
    embedding = run(encoder_graph, {"image": image.numpy()})["image_embedding"]
    assert error(embedding, sam.encode(image)) < LIMITS[backend]


@pytest.mark.parametrize("count", [1, 2, 16, 17])
def test_the_decoder_computes_what_torch_computes_for_any_number_of_boxes(
    run: Run, backend: str, decoder_graph: Graph, sam: Sam, image: torch.Tensor, boxes: torch.Tensor, count: int
) -> None:
    embedding = sam.encode(image)
    found = run(decoder_graph, {"image_embedding": embedding.numpy(), "boxes": boxes[:count].numpy()})
    logits, iou = sam.decode(embedding, boxes[:count])
    assert error(found["low_res_logits"], logits) < LIMITS[backend]
    assert error(found["iou_predictions"], iou) < LIMITS[backend]


@pytest.mark.parametrize("grey", [0, 255])
def test_a_constant_image_gives_a_finite_embedding(run: Run, encoder_graph: Graph, grey: int) -> None:
    embedding = run(encoder_graph, {"image": np.full((1, 3, 64, 64), grey, np.uint8)})["image_embedding"]
    assert np.isfinite(embedding).all()


IN_ANOTHER_RUNTIME = """
import sys
import numpy as np, onnxruntime
folder = sys.argv[1]
feeds = np.load(folder + "/feeds.npz")
encoder, decoder = (onnxruntime.InferenceSession(f"{folder}/{part}.onnx") for part in ("encoder", "decoder"))
embedding, = encoder.run(None, {"image": feeds["image"]})
logits, iou = decoder.run(None, {"image_embedding": embedding, "boxes": feeds["boxes"]})
np.savez(folder + "/found.npz", logits=logits, iou=iou)
print(onnxruntime.__version__)
"""


def test_development_runs_on_the_oldest_supported_onnx_runtime() -> None:
    """The constraint is what makes every other test a proof for 1.23, the newest for Python 3.10 on aarch64."""
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    assert any(line.startswith("onnxruntime==1.23.") for line in lines)


@pytest.mark.slow
def test_the_newest_onnx_runtime_gives_the_same_numbers(
    tmp_path: Path, encoder_graph: Graph, decoder_graph: Graph, sam: Sam, image: torch.Tensor, boxes: torch.Tensor
) -> None:
    """Installs it into an environment of its own; all other tests run on the oldest supported (constraints.txt)."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "onnxruntime", "numpy"], check=True)
    for graph in (encoder_graph, decoder_graph):
        (tmp_path / f"{graph.spec.name}.onnx").write_bytes(graph.data)
    np.savez(tmp_path / "feeds.npz", image=image.numpy(), boxes=boxes.numpy())
    command = [python, "-c", IN_ANOTHER_RUNTIME, tmp_path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert tuple(map(int, done.stdout.split(".")[:2])) > (1, 23)
    found, (logits, iou) = np.load(tmp_path / "found.npz"), sam.decode(sam.encode(image), boxes)
    assert error(found["logits"], logits) < LIMITS["onnxruntime"]
    assert error(found["iou"], iou) < LIMITS["onnxruntime"]
