"""Which graphs each target gets, and what a typed float16 graph is made of."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.export.graphs import Graph
from medsam_edge.export.models.config import LITE_MEDSAM
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import DEFAULT_TARGETS, TARGETS, chosen, export_graphs, variants
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import AnyArray


def listed(model: Sam, targets: Sequence[str], form: str | None = None) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(one.part, one.precision, one.form, one.targets) for one in variants(model, targets, form)]


def test_targets_that_need_the_same_graph_share_it(sam: Sam) -> None:
    both = ("openvino", "onnxruntime")
    assert listed(sam, DEFAULT_TARGETS) == [
        ("encoder", "fp32", "tiled", both),
        ("decoder", "fp32", "absorbed", both),
    ]


def test_tensorrt_gets_float16_beside_float32(sam: Sam) -> None:
    assert listed(sam, ["tensorrt", "tensorrt"]) == [
        (part, precision, form, ("tensorrt",))
        for precision in ("fp32", "fp16")
        for part, form in (("encoder", "concat"), ("decoder", "absorbed"))
    ]


def test_plain_is_plain_everywhere(sam: Sam) -> None:
    assert {form for _, _, form, _ in listed(sam, tuple(TARGETS), "plain")} == {"plain"}


def test_tiny_vit_has_one_form() -> None:
    with torch.device("meta"):
        model = Sam(LITE_MEDSAM)
    assert {form for part, _, form, _ in listed(model, tuple(TARGETS)) if part == "encoder"} == {"folded"}


@pytest.mark.parametrize(("targets", "form", "said"), [
    (["jetson"], None, "targets among openvino, onnxruntime, tensorrt; found jetson"),
    ([], None, "found none"),
    (["openvino"], "fast", "a form among plain, bias, tiled, concat; found 'fast'"),
])  # fmt: skip
def test_what_is_not_known_is_refused_before_anything_is_traced(
    sam: Sam, targets: list[str], form: str | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        export_graphs(sam, medsam(64), targets, form)


@pytest.fixture
def graphs(small_graphs: tuple[Graph, ...]) -> tuple[Graph, ...]:
    return small_graphs


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {weight.name: weight.data_type for weight in model.graph.initializer}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_products_are_float16_and_norms_float32(graphs: tuple[Graph, ...], part: str) -> None:
    model = onnx.load_from_string(chosen(graphs, part, "fp16", "tensorrt").data)
    kinds = types(model)
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Conv", "Softmax")]
    # The box coordinates' one product stays float32: in float16 they would be off by pixels.
    wide = [node for node in products if kinds[node.input[0]] != onnx.TensorProto.FLOAT16]
    assert len(wide) == (1 if part == "decoder" else 0)
    assert all(kinds[name] == onnx.TensorProto.FLOAT16 for node in products if node not in wide for name in node.input)
    for node in model.graph.node:
        if node.op_type in ("LayerNormalization", "Sin", "Cos"):
            assert all(kinds[name] == onnx.TensorProto.FLOAT for name in node.input)
    assert not any(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16 for value in model.graph.output)


def test_a_float16_file_is_half_as_large(graphs: tuple[Graph, ...]) -> None:
    half, full = (len(chosen(graphs, "decoder", precision, "tensorrt").data) for precision in ("fp16", "fp32"))
    assert 0.4 < half / full < 0.7


def run(graph: Graph, feeds: dict[str, AnyArray]) -> list[AnyArray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(graph.data, providers=["CPUExecutionProvider"])
    found: list[AnyArray] = session.run(None, feeds)
    return found


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-5), ("fp16", 0.02)])
def test_every_graph_computes_what_torch_computes(
    graphs: tuple[Graph, ...], sam: Sam, image: torch.Tensor, boxes: torch.Tensor, precision: str, limit: float
) -> None:
    embedding = sam.encode(image)
    logits, iou = sam.decode(embedding, boxes)
    for target in TARGETS:
        if precision == "fp16" and target != "tensorrt":
            continue
        (found,) = run(chosen(graphs, "encoder", precision, target), {"image": image.numpy()})
        assert np.abs(found - embedding.numpy()).max() < limit * embedding.abs().max()
        feeds = {"image_embedding": embedding.numpy(), "boxes": boxes.numpy()}
        for ours, theirs in zip(run(chosen(graphs, "decoder", precision, target), feeds), (logits, iou), strict=True):
            assert np.abs(ours - theirs.numpy()).max() < limit * theirs.abs().max()
