"""What a graph says of its tensors, with and without the shapes written in it."""

import onnx
import pytest
from medsam_edge.calibration.graph_tensors import channel_axes, check_tensors, cut, groups, tensor_bytes
from medsam_edge.runtime.errors import UsageError
from numpy import arange, array, float32, zeros
from onnx import TensorProto, helper, numpy_helper

NAMES = ("image", "map", "rows", "tokens", "wide")


@pytest.fixture
def model() -> onnx.ModelProto:
    """A 3-channel image to 4 maps of 6 x 6, to 36 tokens of 4, to 36 of 500; its own shapes are not written in it."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"]),
        helper.make_node("Reshape", ["map", "shape"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "weight"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["out"]),
    ]
    weights = {
        "kernel": zeros((4, 3, 3, 3), float32),
        "shape": array([1, 4, -1]),
        "weight": arange(2000, dtype=float32).reshape(4, 500),
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_shapes_are_inferred_where_they_are_not_written(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    found = tensor_bytes(model, NAMES)
    assert found == {"image": 768, "map": 576, "rows": 576, "tokens": 576, "wide": 72_000}
    assert model.SerializeToString() == before


def test_shapes_that_are_written_are_believed(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("wide", TensorProto.FLOAT, ["N", 7, 2]))
    assert tensor_bytes(model, ["wide"]) == {"wide": 56}


def test_only_convolutions_have_their_channels_in_the_second_place(model: onnx.ModelProto) -> None:
    assert channel_axes(model, NAMES) == {"image": 1, "map": 1, "rows": -1, "tokens": -1, "wide": -1}


def test_a_name_that_is_not_there_is_refused_with_what_is_alike(model: onnx.ModelProto) -> None:
    check_tensors(model, NAMES)
    with pytest.raises(UsageError, match="no `token` among 6; closest: tokens"):
        check_tensors(model, ["map", "token"])
    for name in ("weight", ""):  # a constant is no activation
        with pytest.raises(UsageError, match=f"no `{name}` among"):
            check_tensors(model, [name])


def test_a_cut_holds_what_its_outputs_need_and_nothing_else(model: onnx.ModelProto) -> None:
    found = cut(model, ["rows", "map"]).graph
    assert [node.op_type for node in found.node] == ["Conv", "Reshape"]
    assert [weight.name for weight in found.initializer] == ["kernel", "shape"]
    assert [value.name for value in found.input] == ["image"]
    assert [value.name for value in found.output] == ["rows", "map"]
    onnx.checker.check_model(cut(model, []))


def test_a_cut_holds_what_only_a_branch_reads(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)
    branches = {
        "then_branch": helper.make_graph([helper.make_node("Relu", ["rows"], ["chosen"])], "then", [], [value]),
        "else_branch": helper.make_graph([helper.make_node("Neg", ["bias"], ["chosen"])], "else", [], [value]),
    }
    model.graph.initializer.append(numpy_helper.from_array(array([True]), "which"))
    model.graph.initializer.append(numpy_helper.from_array(zeros((1, 4, 36), float32), "bias"))
    model.graph.node.append(helper.make_node("If", ["which"], ["answer"], **branches))
    found = cut(model, ["answer"]).graph
    assert [node.op_type for node in found.node] == ["Conv", "Reshape", "If"]
    assert [weight.name for weight in found.initializer] == ["kernel", "shape", "which", "bias"]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (100, [("image", "map", "rows", "tokens", "wide")]),
        (50, [("image", "map", "rows", "tokens"), ("wide",)]),
        (40, [("image", "map", "rows", "tokens"), ("wide",)]),
        (20, [("image", "map"), ("rows", "tokens"), ("wide",)]),
        (1, [("image",), ("map",), ("rows",), ("tokens",), ("wide",)]),
    ],
)
def test_groups_fill_the_budget_in_the_graphs_order(
    model: onnx.ModelProto, budget: int, expected: list[tuple[str, ...]]
) -> None:
    sizes = {"wide": 60, "tokens": 10, "rows": 10, "map": 10, "image": 10}
    assert groups(model, sizes, budget) == expected
    assert groups(model, {}, budget) == []
