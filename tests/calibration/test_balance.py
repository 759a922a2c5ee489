"""Balancing changes no function, only what int8 loses of it."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.balance import balanced
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.qdq import quantised
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import AnyArray
from onnx import helper, numpy_helper

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]
Peaks = dict[str, AnyArray]
WIDTH = 6


@pytest.fixture
def peaks_of(answers: Answers, pixels: dict[str, AnyArray]) -> Callable[[onnx.ModelProto], Peaks]:
    """The largest magnitude of each channel of the linear layers' inputs."""

    def measured(model: onnx.ModelProto) -> Peaks:
        layers = [layer for layer in quantisable(model) if layer.kind != "Conv"]
        found = answers(model, pixels, *(layer.input for layer in layers))
        return {
            layer.name: np.abs(one).reshape(-1, one.shape[-1]).max(0) for layer, one in zip(layers, found, strict=True)
        }

    return measured


def inputs_of(model: onnx.ModelProto) -> dict[str, AnyArray]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def weights(model: onnx.ModelProto) -> dict[str, AnyArray]:
    return {layer.name: inputs_of(model)[layer.weight] for layer in quantisable(model)}


@pytest.mark.parametrize(
    ("family", "form", "precision", "limit"),
    [
        *(("vit", "tiled", "fp32", 1e-5), ("vit", "concat", "fp32", 1e-5), ("tiny_vit", "folded", "fp32", 1e-5)),
        ("vit", "concat", "fp16", 1e-2),
    ],
)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_function_stays(
    encoder: Encoder,
    answers: Answers,
    peaks_of: Callable[[onnx.ModelProto], Peaks],
    pixels: dict[str, AnyArray],
    family: str,
    form: str,
    precision: str,
    limit: float,
    alpha: float,
) -> None:
    model = encoder(family, form, precision)
    before = model.SerializeToString()
    made = balanced(model, peaks_of(model), alpha)
    onnx.checker.check_model(made, full_check=True)
    exact, found = (answers(one, pixels)[0] for one in (model, made))
    assert np.abs(found - exact).max() < limit * np.abs(exact).max()
    assert model.SerializeToString() == before
    then, now = weights(model), weights(made)
    assert list(now) == list(then)
    changed = {name.split(".")[-1] for name in now if not np.array_equal(now[name], then[name])}
    assert changed == {"qkv", "lin1" if family == "vit" else "fc1"}


def with_outlier(model: onnx.ModelProto) -> onnx.ModelProto:
    """One channel of one norm made 200 times as large, and its weights as much smaller: trained ViTs have such."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    layer = next(one for one in quantisable(made) if one.name == "blocks.0.mlp.lin1")
    norm = next(node for node in made.graph.node if layer.input in node.output)
    factors = np.where(np.arange(32) == 7, 200, 1).astype(np.float32)
    changes = {norm.input[1]: factors, norm.input[2]: factors, layer.weight: 1 / factors[:, None]}
    for constant in made.graph.initializer:
        if constant.name in changes:
            array = numpy_helper.to_array(constant) * changes[constant.name]
            constant.CopyFrom(numpy_helper.from_array(array, constant.name))
    return made


def test_an_outlier_channel_costs_int8_much_less_once_balanced(
    encoder: Encoder,
    answers: Answers,
    peaks_of: Callable[[onnx.ModelProto], Peaks],
    peak_scales: Callable[[onnx.ModelProto], dict[str, float]],
    pixels: dict[str, AnyArray],
) -> None:
    model = with_outlier(encoder("vit", "tiled"))
    [exact] = answers(model, pixels)

    def loss(one: onnx.ModelProto) -> float:
        scale = peak_scales(one)["blocks.0.mlp.lin1"]
        found = answers(quantised(one, {"blocks.0.mlp.lin1": scale}), pixels)[0]
        return float(np.abs(found - exact).mean())

    assert loss(balanced(model, peaks_of(model), 0.5)) < loss(model) / 10


def norm_graph(readers: str, shared_norm: bool = False) -> onnx.ModelProto:
    """A norm that linear layers `ab`, or `a` and something else (`a+`), read; another norm may share its constants."""
    random = np.random.default_rng(3)
    arrays = {name: random.normal(1, 0.5, WIDTH).astype("f4") for name in ("scale", "shift")}
    arrays |= {
        name: random.normal(size=(WIDTH, 4)).astype("f4") for name in ("a.weight", "b.weight") if name[0] in readers
    }
    nodes = [helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"], axis=-1)]
    outputs = []
    for letter in readers.replace("+", ""):
        nodes.append(helper.make_node("MatMul", ["n", f"{letter}.weight"], [letter]))
        outputs.append(letter)
    if "+" in readers:
        nodes.append(helper.make_node("Neg", ["n"], ["minus"]))
        outputs.append("minus")
    if shared_norm:
        nodes.append(helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["m"], axis=-1))
        outputs.append("m")
    shapes = {"x": WIDTH, "minus": WIDTH, "m": WIDTH, "a": 4, "b": 4}
    ends = [helper.make_tensor_value_info(name, 1, (5, shapes[name])) for name in ("x", *outputs)]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "norm", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_layers_that_share_a_norm_share_factors_that_follow_the_paper() -> None:
    model = norm_graph("ab")
    a, b = weights(model).values()
    x = {"a": np.arange(1.0, 7.0), "b": np.full(WIDTH, 2.5)}
    made = balanced(model, x, 0.3)
    largest = np.maximum(np.abs(a).max(1), np.abs(b).max(1))
    factors = np.maximum(x["a"], 2.5) ** 0.3 / largest**0.7
    np.testing.assert_allclose(weights(made)["a"], a * factors[:, None], rtol=1e-6)
    np.testing.assert_allclose(weights(made)["b"], b * factors[:, None], rtol=1e-6)
    for name in ("scale", "shift"):
        np.testing.assert_allclose(inputs_of(made)[name], inputs_of(model)[name] / factors, rtol=1e-6)


def test_a_channel_without_activation_or_weights_is_left() -> None:
    model = norm_graph("a")
    made = balanced(model, {"a": np.array([0, 1, 1, 1, 1, 1.0])}, 0.5)
    assert inputs_of(made)["scale"][0] == inputs_of(model)["scale"][0]
    assert np.isfinite(weights(made)["a"]).all()


@pytest.mark.parametrize("readers", ["a+", "ab+"])
def test_a_norm_that_something_else_reads_is_left(readers: str) -> None:
    model = norm_graph(readers)
    assert balanced(model, {"a": np.ones(WIDTH)}, 0.5).SerializeToString() == norm_graph(readers).SerializeToString()


def test_a_norm_that_is_put_out_is_left() -> None:
    model = norm_graph("a")
    model.graph.output.append(helper.make_tensor_value_info("n", 1, (5, WIDTH)))
    assert balanced(model, {"a": np.ones(WIDTH)}, 0.5).SerializeToString() == model.SerializeToString()


def test_a_norm_none_of_whose_layers_is_named_is_left() -> None:
    model = norm_graph("ab")
    assert balanced(model, {}, 0.5).SerializeToString() == model.SerializeToString()


def test_another_norm_that_shares_the_constants_keeps_them(answers: Answers) -> None:
    model = norm_graph("a", shared_norm=True)
    x = {"x": np.random.default_rng(1).normal(size=(5, WIDTH)).astype("f4")}
    made = balanced(model, {"a": np.arange(1.0, 7.0)}, 0.5)
    for exact, found in zip(answers(model, x), answers(made, x), strict=True):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("peaks", [np.ones(5), np.full(WIDTH, np.nan), np.full(WIDTH, -1.0), np.ones((1, WIDTH))])
def test_peaks_that_do_not_fit_are_refused(peaks: AnyArray) -> None:
    with pytest.raises(UsageError, match="6 finite peaks for a"):
        balanced(norm_graph("a"), {"a": peaks}, 0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        balanced(norm_graph("a"), {}, alpha)
