"""Every rule has a planted violation that it finds; our own graphs break none, and TensorRT's parser agrees."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.lint import lint
from medsam_edge.calibration.qdq import quantised
from medsam_edge.runtime.types import AnyArray
from onnx import helper, numpy_helper

Toy = Callable[..., onnx.ModelProto]
Ask = Callable[[str, Sequence[bytes]], list[dict[str, object]]]
SCALES = {"conv": 0.02, "one": 0.1, "two": 0.1, "gemm": 0.5}


@pytest.fixture
def graph(toy: Toy) -> onnx.ModelProto:
    return quantised(toy(), SCALES)


def rules(model: onnx.ModelProto) -> set[str]:
    return {finding.rule for finding in lint(model)}


def put(model: onnx.ModelProto, name: str, array: AnyArray) -> None:
    constant = next(one for one in model.graph.initializer if one.name == name)
    constant.CopyFrom(numpy_helper.from_array(array, name))


def named(model: onnx.ModelProto, ending: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name.endswith(ending) or node.output[0] == ending)


def add(model: onnx.ModelProto, kind: str, inputs: Sequence[str], output: str, **constants: AnyArray) -> None:
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    model.graph.node.append(helper.make_node(kind, inputs, [output], name=f"planted {kind}"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_we_write_breaks_no_rule(toy: Toy, dtype: type) -> None:
    assert lint(quantised(toy(dtype=dtype), SCALES)) == ()
    assert lint(quantised(toy(dtype=dtype), {"two": 0.1})) == ()
    assert lint(toy(dtype=dtype)) == ()


def test_a_finding_names_the_rule_the_node_and_what_stands_there(graph: onnx.ModelProto) -> None:
    put(graph, "gemm/input/zero", np.array(3, np.int8))
    quantise, dequantise = lint(graph)
    assert (quantise.rule, quantise.node) == ("zero-point", named(graph, "gemm/input/int8").name)
    assert (dequantise.rule, dequantise.node) == ("zero-point", named(graph, "gemm/input/float").name)
    assert "3" in quantise.found


def test_asymmetric_uint8_as_nncf_writes_it_is_found(graph: onnx.ModelProto) -> None:
    put(graph, "gemm/input/zero", np.array(17, np.uint8))
    assert rules(graph) == {"int8", "zero-point"}


def test_uint8_is_found_where_the_zero_point_is_0_and_where_there_is_none(graph: onnx.ModelProto) -> None:
    put(graph, "gemm/input/zero", np.array(0, np.uint8))
    assert rules(graph) == {"int8"}
    put(graph, "gemm/input/zero", np.array(0, np.int8))
    del named(graph, "gemm/input/int8").input[2]
    assert [(one.rule, one.node) for one in lint(graph)] == [("int8", named(graph, "gemm/input/int8").name)]


def test_a_weight_of_uint8_is_found(graph: onnx.ModelProto) -> None:
    put(graph, "gemm/weight/int8", np.zeros((5, 4), np.uint8))
    assert rules(graph) == {"int8"}


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf])
def test_a_scale_that_is_not_positive_and_finite_is_found(graph: onnx.ModelProto, scale: float) -> None:
    put(graph, "gemm/weight/scale", np.array([0.1, 0.1, scale, 0.1, 0.1], np.float32))
    assert [one.rule for one in lint(graph)] == ["scale"]


def test_several_scales_for_an_activation_are_found(graph: onnx.ModelProto) -> None:
    put(graph, "gemm/input/scale", np.full(4, 0.1, np.float32))
    assert rules(graph) == {"scale"}


def test_a_scale_or_zero_point_computed_at_run_time_is_found(graph: onnx.ModelProto) -> None:
    quantise = named(graph, "gemm/input/int8")
    quantise.input[1], quantise.input[2] = "c", "c"
    assert {"scale", "zero-point"} <= rules(graph)


def test_a_weight_with_one_scale_for_all_channels_is_found(graph: onnx.ModelProto) -> None:
    put(graph, "gemm/weight/scale", np.array(0.1, np.float32))
    put(graph, "gemm/weight/zero", np.array(0, np.int8))
    assert [(one.rule, one.node) for one in lint(graph)] == [("channels", named(graph, "out").name)]


def test_scales_along_the_input_channels_are_found(graph: onnx.ModelProto) -> None:
    named(graph, "conv/weight/float").attribute[0].i = 1
    assert rules(graph) == {"channels"}


def test_a_weight_rounded_at_run_time_is_found(graph: onnx.ModelProto) -> None:
    add(
        graph, "QuantizeLinear", ["kernel", "gemm/weight/scale", "gemm/weight/zero"], "k8", kernel=np.ones((5, 4), "f4")
    )
    named(graph, "gemm/weight/float").input[0] = "k8"
    assert rules(graph) == {"stored"}


def test_an_int32_bias_is_found(graph: onnx.ModelProto) -> None:
    add(graph, "DequantizeLinear", ["b32", "gemm/input/scale"], "b", b32=np.zeros(5, np.int32))
    named(graph, "out").input.append("b")
    assert rules(graph) == {"bias"}


def test_int8_that_something_else_reads_or_makes_is_found(graph: onnx.ModelProto) -> None:
    add(graph, "Cast", ["gemm/input/int8"], "cast")
    assert rules(graph) == {"pair"}
    add(graph, "DequantizeLinear", ["cast", "gemm/input/scale"], "loose")
    assert [one.node for one in lint(graph)][-1] == "planted DequantizeLinear"


@pytest.mark.parametrize("side", ["input", "weight"])
def test_a_half_quantised_layer_is_found(graph: onnx.ModelProto, toy: Toy, side: str) -> None:
    place = ("input", "weight").index(side)
    named(graph, "out").input[place] = ("c", "gemm.weight")[place]
    graph.graph.initializer.append(next(one for one in toy().graph.initializer if one.name == "gemm.weight"))
    assert rules(graph) == {"both"}


@pytest.mark.parametrize("kind", ["LayerNormalization", "Softmax", "MatMul"])
def test_quantised_input_of_norms_softmax_and_products_of_activations_is_found(
    graph: onnx.ModelProto, kind: str
) -> None:
    add(graph, "Transpose", ["gemm/input/float"], "turned")
    add(graph, kind, {"Softmax": ["turned"]}.get(kind, ["turned", "c"]), "planted")
    assert [(one.rule, one.node) for one in lint(graph)] == [("float", f"planted {kind}")]


@pytest.mark.parametrize(("dtype", "opset"), [(np.float16, 18), (np.float32, 12), (np.float32, 21)])
def test_an_opset_that_lacks_what_is_used_or_is_too_new_is_found(toy: Toy, dtype: type, opset: int) -> None:
    model = quantised(toy(dtype=dtype), SCALES)
    model.opset_import[0].version = opset
    assert rules(model) == {"opset"}


FAMILIES = [("vit", "concat", "fp32"), ("vit", "concat", "fp16"), ("tiny_vit", "folded", "fp32")]


def test_tensorrts_parser_takes_small_encoders_in_int8(
    tensorrt: Ask, toy: Toy, int8_encoder: Callable[..., onnx.ModelProto]
) -> None:
    models = [*(int8_encoder(*family) for family in FAMILIES), quantised(toy(), SCALES)]
    assert [lint(model) for model in models] == [()] * len(models)
    found = tensorrt("parse", [model.SerializeToString() for model in models])
    assert [one["accepted"] for one in found] == [True] * len(models), found


def test_tensorrts_parser_refuses_what_the_rules_refuse(tensorrt: Ask, toy: Toy) -> None:
    uint8, bias = (quantised(toy(), SCALES) for _ in range(2))
    put(uint8, "gemm/input/zero", np.array(17, np.uint8))
    add(bias, "DequantizeLinear", ["b32", "gemm/input/scale"], "b", b32=np.zeros(5, np.int32))
    gemm, dequantise = bias.graph.node[-2], bias.graph.node[-1]
    gemm.input.append("b")
    nodes = [*list(bias.graph.node)[:-2], dequantise, gemm]
    del bias.graph.node[:]
    bias.graph.node.extend(nodes)
    found = tensorrt("parse", [model.SerializeToString() for model in (uint8, bias)])
    assert [one["accepted"] for one in found] == [False, False], found


@pytest.mark.slow
def test_tensorrts_builder_takes_small_encoders_in_int8(
    tensorrt: Ask, int8_encoder: Callable[..., onnx.ModelProto]
) -> None:
    models = [int8_encoder(*family) for family in (*FAMILIES, ("tiny_vit", "folded", "fp16"))]
    found = tensorrt("build", [model.SerializeToString() for model in models])
    assert [one["accepted"] for one in found] == [True] * len(models), found
