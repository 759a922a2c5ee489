"""NVIDIA's real parser and builder through our build: TensorRT-RTX, which needs no GPU (docs/tensorrt.md).

What they build cannot be loaded without one, so masks are another matter.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from medsam_edge.runtime.engines.attempts import build_watched
from medsam_edge.runtime.engines.builder import Order
from medsam_edge.runtime.engines.engine_file import EngineFacts, split
from medsam_edge.runtime.engines.options import GIB, BuildOptions
from medsam_edge.runtime.errors import BundleError, MedSAMEdgeError, ParityError

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
onnx = pytest.importorskip("onnx")
MIB = 2**20
LIMIT = 150 * MIB  # of the float16 encoder of ViT-B
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
TARGETS = ("8.6", "8.9")


def built(
    data: bytes, folder: Path, part: str = "encoder", precision: str = "fp16", targets: Sequence[str] = TARGETS[:1]
) -> tuple[EngineFacts, list[str]]:
    """Build as `medsam-edge build` does; also the phases that the builder told of."""
    graph, out, phases = folder / "graph.onnx", folder / "engine", list[str]()
    graph.write_bytes(data)
    options = BuildOptions("rtx", (1, 4, 16), 4 * GIB, 3, tuple(targets))
    order = Order(str(graph), part, precision, options, str(out), str(folder / "timing"))
    facts = build_watched(order, lambda name, *_: phases.append(name), lambda _: None)
    found, plan = split(memoryview(out.read_bytes()))
    assert found == facts
    assert len(plan) > 1000
    return facts, phases


def graph(operator: str, kind: int = HALF, rows: int | str = "N") -> bytes:
    helper = onnx.helper
    names = [("boxes", (rows, 64)), ("out", (rows, 64))]
    ports = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in names]
    nodes = [
        helper.make_node("Cast", ["boxes"], ["typed"], to=kind),
        helper.make_node(operator, ["typed", "weights"], ["product"], name="the_node"),
        helper.make_node("Softmax", ["product"], ["soft"]),
        helper.make_node("Cast", ["soft"], ["out"], to=FLOAT),
    ]
    weights = helper.make_tensor("weights", kind, (64, 64), [0.01] * 4096)
    made = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weights])
    return bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )


def test_a_graph_is_built_with_a_profile_for_each_number_of_boxes(tmp_path: Path) -> None:
    facts, phases = built(graph("MatMul"), tmp_path)
    assert facts.buckets == (1, 4, 16)
    assert [(port.name, port.dtype, port.shape, port.is_input) for port in facts.ports] == [
        ("boxes", "float32", (-1, 64), True),
        ("out", "float32", (-1, 64), False),
    ]
    assert facts.census.operations == {"fp16": 64 * 64}
    assert facts.census.scores_bytes == 64 * 2
    assert facts.device_memory_bytes is None
    assert "Building engine" in phases


def test_an_operator_that_the_parser_does_not_know_is_named_with_its_node(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the_node") as caught:
        built(graph("Det2"), tmp_path)
    assert "Det2" in caught.value.found
    assert not (tmp_path / "engine").exists()


def test_a_float32_graph_that_was_asked_for_as_float16_is_a_parity_failure(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="fp32 100%") as caught:
        built(graph("MatMul", FLOAT), tmp_path)
    assert caught.value.exit_code == 4
    assert built(graph("MatMul", FLOAT), tmp_path, precision="fp32")[0].census.share("fp32") == 1


def test_a_target_that_the_library_does_not_know_lists_those_that_it_does(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"SM86.*found SM87"):
        built(graph("MatMul"), tmp_path, targets=("8.7",))


def test_a_file_that_is_no_graph_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MedSAMEdgeError) as caught:
        built(b"no protobuf at all", tmp_path)
    assert "\n" not in str(caught.value)


def int8_graph() -> bytes:
    """A product of two dequantised operands, as `quantize` writes them."""
    helper = onnx.helper
    # Three axes: the parser adds one to the weights, behind their dequantisation.
    ports = [helper.make_tensor_value_info(name, FLOAT, (1, 4, 64)) for name in ("x", "y")]
    scale = helper.make_tensor("scale", FLOAT, (), [0.1])
    zero = helper.make_tensor("zero", onnx.TensorProto.INT8, (), [0])
    weights = helper.make_tensor("weights", onnx.TensorProto.INT8, (64, 64), [1] * 4096)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    made = helper.make_graph(nodes, "g", ports[:1], ports[1:], [scale, zero, weights])
    return bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)], ir_version=10).SerializeToString()
    )


def test_operands_that_were_quantised_count_as_int8(tmp_path: Path) -> None:
    facts, _ = built(int8_graph(), tmp_path, precision="int8")
    assert facts.census.operations == {"int8": 4 * 64 * 64}


def tell(part: str, precision: str, facts: EngineFacts, path: Path) -> None:
    planned = "/".join(f"{count / MIB:.1f}" for count in facts.activation_bytes)
    size = path.stat().st_size / MIB
    print(f"{part} {precision}: {facts.seconds} s, {size:.1f} MiB, activations {planned} MiB, {facts.attention}")


def build_all(graphs: Sequence[object], folder: Path) -> dict[tuple[str, str], EngineFacts]:
    found = {}
    for one in graphs:
        part, precision = one.spec.name, one.precision  # type: ignore[attr-defined]
        facts, _ = built(one.data, folder, part, precision, TARGETS)  # type: ignore[attr-defined]
        tell(part, precision, facts, folder / "engine")
        found[part, precision] = facts
    return found


def test_every_graph_of_the_demo_is_built_for_both_targets(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from medsam_edge.export.architecture import model_of
    from medsam_edge.export.checkpoint import read_checkpoint
    from medsam_edge.export.demo_checkpoint import demo_checkpoint
    from medsam_edge.export.variants import export_graphs
    from medsam_edge.runtime.profile import profile_named

    model = model_of(read_checkpoint(demo_checkpoint()).tensors)
    graphs = export_graphs(model, profile_named("medsam", model.config.image_size), ["tensorrt"])
    found = build_all(graphs, tmp_path)
    assert set(found) == {(part, kind) for part in ("encoder", "decoder") for kind in ("fp32", "fp16")}
    for (part, precision), facts in found.items():
        assert facts.census.share(precision) > 0.9
        assert facts.buckets == ((1, 4, 16) if part == "decoder" else (1,))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("medsam-vit-b", 1024), ("litemedsam", 256)])
def test_full_size_graphs_are_built_and_the_float16_encoder_is_fused(name: str, side: int, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from medsam_edge.export.architecture import model_of
    from medsam_edge.export.random_weights import random_checkpoint
    from medsam_edge.export.variants import export_graphs
    from medsam_edge.runtime.profile import litemedsam, medsam

    contract = medsam(side) if name == "medsam-vit-b" else litemedsam(side)
    found = build_all(export_graphs(model_of(random_checkpoint(name).tensors), contract, ["tensorrt"]), tmp_path)
    encoder = found["encoder", "fp16"]
    assert encoder.census.share("fp16") > 0.9
    if name == "medsam-vit-b":
        assert encoder.attention == "fused"
        assert max(encoder.activation_bytes) <= LIMIT
