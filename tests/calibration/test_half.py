"""A typed float16 graph: what the export's own computes, to the bit, with float32 where it was asked for."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.emulation import rounded
from medsam_edge.calibration.half import halved
from medsam_edge.calibration.islands import float32_nodes
from medsam_edge.calibration.layers import quantisable
from medsam_edge.export.graphs import finished, trace_decoder
from medsam_edge.export.models.half import Half
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import formed_model, replaced
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import AnyArray
from onnx import TensorProto, helper, numpy_helper

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]
EVERY = [("vit", form) for form in ("concat", "tiled", "bias", "plain")] + [
    ("tiny_vit", "folded"),
    ("tiny_vit", "plain"),
]


def half(model: onnx.ModelProto, *blocks: str) -> onnx.ModelProto:
    return halved(model, float32_nodes(model, blocks))


def types(model: onnx.ModelProto) -> dict[str, int]:
    """What ONNX itself infers, every statement of the file left out."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(bare, strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {one.name: one.data_type for one in graph.initializer}


@pytest.mark.parametrize(("family", "form"), EVERY)
def test_every_form_is_typed_and_keeps_its_interface(encoder: Encoder, family: str, form: str) -> None:
    model = encoder(family, form)
    before = model.SerializeToString()
    made = half(model)
    onnx.checker.check_model(made, full_check=True)
    assert model.SerializeToString() == before
    assert (made.graph.input, made.graph.output) == (model.graph.input, model.graph.output)
    assert made.opset_import[0].version == 19
    kinds = types(made)
    layers = quantisable(made)
    assert [layer.name for layer in layers] == [layer.name for layer in quantisable(model)]
    assert (
        {kinds[layer.weight] for layer in layers} == {kinds[layer.output] for layer in layers} == {TensorProto.FLOAT16}
    )
    norms = [node for node in made.graph.node if node.op_type == "LayerNormalization"]
    assert {kinds[name] for node in norms for name in (*node.input, *node.output)} == {TensorProto.FLOAT}


@pytest.mark.parametrize(("family", "form"), [("vit", "concat"), ("vit", "tiled"), ("tiny_vit", "folded")])
def test_it_computes_what_the_exports_own_float16_graph_computes(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray], family: str, form: str
) -> None:
    [found], [own] = (
        answers(rounded(one), pixels) for one in (half(encoder(family, form)), encoder(family, form, "fp16"))
    )
    # The export rounds the embedding once more, at its end.
    np.testing.assert_array_equal(found.astype(np.float16), own.astype(np.float16))
    [exact] = answers(encoder(family, form), pixels)
    assert 1e-5 < np.abs(found - exact).max() / np.abs(exact).max() < 5e-3


def decoders(model: Sam) -> list[onnx.ModelProto]:
    formed = formed_model(model, "decoder")
    own = replaced(formed, "mask_decoder", Half(formed.mask_decoder))
    return [onnx.load_from_string(finished(trace_decoder(one).model)) for one in (formed, own)]


def test_a_decoder_keeps_its_coordinates_in_float32(model_named: Callable[[str], Sam], answers: Answers) -> None:
    model, own = decoders(model_named("vit"))
    made = half(model)
    onnx.checker.check_model(made, full_check=True)
    kinds, nodes = types(made), list(made.graph.node)
    fourier = next(place for place, node in enumerate(nodes) if node.op_type == "Sin")
    coordinates = {name for node in nodes[: fourier + 1] for name in node.output}
    assert TensorProto.FLOAT16 not in {kinds[name] for name in coordinates}
    random = np.random.default_rng(1)
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    boxes = np.array([[3, 5, 40, 60], [10, 2, 20, 9.5]], np.float32)
    inputs = {"image_embedding": random.normal(size=(1, width, 8, 8)).astype(np.float32), "boxes": boxes}
    for found, expected in zip(answers(rounded(made), inputs), answers(rounded(own), inputs), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_casts_stand_at_the_borders_only(encoder: Encoder) -> None:
    model = encoder("vit", "concat")
    made = half(model, "blocks.1")
    makers = {name: node for node in made.graph.node for name in node.output}
    casts = [node for node in made.graph.node if node.op_type == "Cast" and node.input[0] != "image"]
    kinds = types(made)
    assert all(kinds[node.input[0]] != kinds[node.output[0]] for node in casts)
    assert not [node for node in casts if makers[node.input[0]].op_type == "Cast"]
    assert len({(node.input[0], kinds[node.output[0]]) for node in casts}) == len(casts)
    # Into block 0; around its two norms; into the island; out of it; around the neck's first norm, none after its last.
    assert [kinds[node.output[0]] for node in casts].count(TensorProto.FLOAT16) == 1 + 2 + 1 + 1
    assert [kinds[node.output[0]] for node in casts].count(TensorProto.FLOAT) == 2 + 1 + 2


def test_an_island_computes_as_before_and_nothing_else_does(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray]
) -> None:
    model = encoder("vit", "concat")
    made = half(model, "blocks.0", "blocks.1")
    layers = {layer.name: layer for layer in quantisable(model)}
    constants = {one.name: one for one in made.graph.initializer}
    inside, outside = layers["blocks.1.mlp.lin2"].weight, layers["neck.2"].weight
    assert constants[inside] in model.graph.initializer
    exact = numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == outside))
    np.testing.assert_array_equal(numpy_helper.to_array(constants[outside]), exact.astype(np.float16))
    everything = half(model, *dict.fromkeys(layer.block for layer in layers.values()))
    [found], [expected] = (answers(one, pixels) for one in (everything, model))
    np.testing.assert_array_equal(found, expected)


def test_the_same_arguments_give_the_same_bytes(encoder: Encoder) -> None:
    model = encoder("tiny_vit", "folded")
    one, other = (half(model, "neck").SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def toy(**constants: float) -> onnx.ModelProto:
    """Multiply by a constant; the place before it stays float32."""
    arrays = {
        "weight": np.full((4, 4), constants.get("weight", 1), np.float32),
        "one": np.float32(constants.get("one", 1)),
    }
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "weight"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["a", "one"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 4)) for name in "xy"]
    kept = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "toy", values[:1], values[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("constants", "expected", "found"),
    [
        ({"weight": 70000.0}, "at most 65504", "70000 in weight"),
        ({"weight": -1e6}, "at most 65504", r"1e\+06 in weight"),
        ({"one": 1e-9}, "tell from 0", "1e-09 in one"),
    ],
)
def test_what_float16_cannot_hold_is_refused_unless_it_stays_float32(
    constants: dict[str, float], expected: str, found: str
) -> None:
    with pytest.raises(UsageError, match=f"{expected}.*; found {found}"):
        halved(toy(**constants), {0})
    halved(toy(**constants), range(5))


def test_small_weights_are_rounded_and_infinities_stay() -> None:
    made = halved(toy(weight=1e-9), {0})
    assert not numpy_helper.to_array(made.graph.initializer[0]).any()
    made = halved(toy(weight=-np.inf), {0})
    assert np.isinf(numpy_helper.to_array(made.graph.initializer[0])).all()


def test_a_constant_that_both_types_read_is_there_twice() -> None:
    made = halved(toy(one=1 / 3), {0, 3})
    onnx.checker.check_model(made, full_check=True)
    found = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    assert found["one"] == np.float32(1 / 3)
    assert found["one/float16"] == np.float16(1 / 3)


def test_what_is_shown_and_read_is_cast_once(answers: Answers) -> None:
    model = toy(one=3)
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, (2, 4)))
    made = halved(model, {0, 4})
    onnx.checker.check_model(made, full_check=True)
    casts = [(node.input[0], node.output[0]) for node in made.graph.node if node.op_type == "Cast"]
    assert casts == [("a", "a/float16"), ("c/float16", "c"), ("d", "d/float32")]
    x = {"x": np.full((2, 4), 2, np.float32)}
    assert [one.tolist() for one in answers(made, x)] == [one.tolist() for one in answers(model, x)]


def test_an_operator_that_onnx_does_not_know_is_refused() -> None:
    model = toy()
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    model.graph.node[2].op_type, model.graph.node[2].domain = "FusedAdd", "elsewhere"
    with pytest.raises(UsageError, match="found FusedAdd, which makes c"):
        halved(model, {0})
