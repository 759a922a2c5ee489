"""What can run in int8 is found in every form under the same name, and what must stay float is not."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.layers import Layer, quantisable
from medsam_edge.export.graphs import trace_decoder
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import formed_model
from onnx import helper, numpy_helper

LINEAR = ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")
VIT = ["patch_embed", *(f"blocks.{block}.{layer}" for block in (0, 1) for layer in LINEAR), "neck.0", "neck.2"]
TINY_LINEAR, MERGE = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"), ("conv1", "conv3")
TINY_VIT = [
    *("patch_embed.seq.0", "patch_embed.seq.2", "layers.0.blocks.0.conv1", "layers.0.blocks.0.conv3"),
    *(f"layers.0.downsample.{layer}" for layer in MERGE),
    *(f"layers.1.blocks.0.{layer}" for layer in TINY_LINEAR),
    *(f"layers.1.downsample.{layer}" for layer in MERGE),
    *(f"layers.2.blocks.0.{layer}" for layer in TINY_LINEAR),
    *(f"layers.2.downsample.{layer}" for layer in MERGE),
    *(f"layers.3.blocks.0.{layer}" for layer in TINY_LINEAR),
    *("neck.0", "neck.2"),
]
Encoder = Callable[..., onnx.ModelProto]
SLOW = pytest.mark.slow


def named(model: onnx.ModelProto) -> list[str]:
    return [layer.name for layer in quantisable(model)]


@pytest.mark.parametrize(
    ("form", "precision"),
    [
        *(("bias", "fp32"), ("tiled", "fp32"), ("concat", "fp32"), ("concat", "fp16")),
        *(pytest.param("plain", precision, marks=SLOW) for precision in ("fp32", "fp16")),
    ],
)
def test_a_vits_layers_have_the_same_names_in_every_form_and_precision(
    encoder: Encoder, form: str, precision: str
) -> None:
    assert named(encoder("vit", form, precision)) == VIT


@pytest.mark.parametrize(
    ("form", "precision"),
    [
        ("folded", "fp32"),
        *(pytest.param(*key, marks=SLOW) for key in (("folded", "fp16"), ("plain", "fp32"), ("plain", "fp16"))),
    ],
)
def test_a_tiny_vits_layers_have_the_same_names_and_none_is_depthwise(
    encoder: Encoder, form: str, precision: str
) -> None:
    assert named(encoder("tiny_vit", form, precision)) == TINY_VIT


def test_a_layer_says_what_it_is(encoder: Encoder) -> None:
    layers = {layer.name: layer for layer in quantisable(encoder("vit", "tiled"))}
    one, neck = layers["blocks.1.mlp.lin1"], layers["neck.2"]
    assert (one.kind, one.weight_shape, one.channel_axis, one.input_axis) == ("MatMul", (32, 64), 1, 0)
    assert (neck.kind, neck.weight_shape, neck.channel_axis, neck.input_axis) == ("Conv", (64, 64, 3, 3), 0, 1)
    assert one.macs == 64 * 32 * 64  # tokens of the grid, inputs, outputs
    assert neck.macs == 64 * 64 * 64 * 9
    assert layers["patch_embed"].macs == 64 * 32 * 3 * 8 * 8


def test_the_nodes_are_those_of_the_graph(encoder: Encoder) -> None:
    model = encoder("vit", "concat", "fp16")
    nodes = {node.output[0]: node for node in model.graph.node}
    for layer in quantisable(model):
        node = nodes[layer.output]
        assert (node.name, node.op_type, *node.input[:2]) == (layer.node, layer.kind, layer.input, layer.weight)


def test_blocks_group_layers(encoder: Encoder) -> None:
    found = Counter(layer.block for layer in quantisable(encoder("vit", "tiled")))
    assert found == {"patch_embed": 1, "blocks.0": 4, "blocks.1": 4, "neck": 2}
    found = Counter(layer.block for layer in quantisable(encoder("tiny_vit", "folded")))
    blocks = {f"layers.{stage}.blocks.0": 4 for stage in (1, 2, 3)} | {"layers.0.blocks.0": 2}
    assert found == {"patch_embed": 2, "neck": 2, **blocks, **{f"layers.{stage}.downsample": 2 for stage in (0, 1, 2)}}


@pytest.mark.slow
def test_a_decoders_tables_are_no_layers(model_named: Callable[[str], Sam]) -> None:
    found = named(trace_decoder(formed_model(model_named("vit"), "decoder")).model)
    assert not [name for name in found if "matrix" in name or name.startswith("layer.")]
    assert "mask_decoder.upscaling.first" in found
    assert len(found) == len(set(found))


def linear(names: tuple[str, ...], biases: tuple[str, ...], shapes: bool = True) -> onnx.ModelProto:
    """A chain of 8 x 8 linear layers over rows of 5; equal names share a constant."""
    nodes, tensor = [], "x"
    for place, (weight, bias) in enumerate(zip(names, biases, strict=True)):
        nodes.append(helper.make_node("MatMul", [tensor, weight], [f"product{place}"], name=f"node{place}"))
        nodes.append(helper.make_node("Add", [f"product{place}", bias], [f"sum{place}"]))
        tensor = f"sum{place}"
    arrays = {name: np.eye(8, dtype=np.float32) for name in names} | {name: np.ones(8, np.float32) for name in biases}
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (5, 8)) for name in ("x", tensor)]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants))
    return onnx.shape_inference.infer_shapes(model) if shapes else model


def test_a_name_comes_from_the_weight_then_the_bias_then_the_place() -> None:
    chain = linear(("model.a.weight", "val_1", "val_2"), ("model.x.bias", "model.b.bias", "zero"))
    assert named(chain) == ["a", "b", "layer.2"]


def test_a_bias_that_several_layers_share_names_none_of_them() -> None:
    assert named(linear(("val_0", "val_1"), ("model.a.bias", "model.a.bias"))) == ["layer.0", "layer.1"]


def test_a_bias_that_pads_windows_too_still_names_its_layer() -> None:
    chain = linear(("val_0", "val_1"), ("model.a.bias", "model.b.bias"))
    shape = numpy_helper.from_array(np.array([3, 8]), "shape")
    chain.graph.initializer.append(shape)
    chain.graph.node.append(helper.make_node("Expand", ["model.a.bias", "shape"], ["padding"]))
    assert named(chain) == ["a", "b"]


def test_a_weight_that_several_layers_share_names_none_of_them() -> None:
    assert named(linear(("model.a.weight", "model.a.weight"), ("zero", "one"))) == ["layer.0", "layer.1"]


def test_a_parameter_that_is_no_weight_is_a_table() -> None:
    assert named(linear(("model.pe.gaussian_matrix", "val_0"), ("zero", "model.a.bias"))) == ["a"]


def test_shapes_that_the_file_does_not_state_are_inferred() -> None:
    found = quantisable(linear(("val_0", "val_1"), ("a.bias", "b.bias"), shapes=False))
    assert [layer.macs for layer in found] == [5 * 8 * 8] * 2


@pytest.mark.parametrize(
    ("options", "axis"), [({}, 1), ({"transB": 1}, 0), ({"transA": 1}, None), ({"transA": 1, "transB": 1}, None)]
)
def test_a_gemm_is_a_layer_unless_its_input_is_transposed(options: dict[str, int], axis: int | None) -> None:
    model = linear(("val_0",), ("model.a.bias",))
    node = helper.make_node("Gemm", ["x", "val_0", "model.a.bias"], ["sum0"], **options)
    del model.graph.node[:]
    model.graph.node.append(node)
    found: tuple[Layer, ...] = quantisable(model)
    assert [(layer.name, layer.channel_axis) for layer in found] == ([] if axis is None else [("a", axis)])
