"""An int8 layer computes what rounding in numpy computes, in every backend, and all else stays as it was."""

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.calibration.layers import Layer, quantisable
from medsam_edge.calibration.products import products
from medsam_edge.calibration.qdq import Factors, Style, quantised
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import formed_model
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import AnyArray
from onnx import numpy_helper
from torch import nn

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]
Scales = Callable[[onnx.ModelProto], dict[str, float]]
Toy = Callable[..., onnx.ModelProto]
Models = Callable[[str], Sam]
FORMS = [("vit", "tiled", "fp32"), ("vit", "concat", "fp16"), ("tiny_vit", "folded", "fp32")]


def fake(x: AnyArray, scale: AnyArray | float) -> AnyArray:
    """Round to int8 and back, with a scale of the numbers' own type."""
    exact = np.asarray(scale, x.dtype).astype(np.float64)
    rounded: AnyArray = np.clip(np.rint(x.astype(np.float64) / exact), -128, 127) * exact
    return rounded


def fake_weight(weight: AnyArray, channel_axis: int) -> AnyArray:
    others = tuple(axis for axis in range(weight.ndim) if axis != channel_axis)
    scale = np.abs(weight.astype(np.float64)).max(others, keepdims=True) / 127
    return fake(weight, np.where(scale > 0, scale, 1))


def rounded_module(module: nn.Module, precision: str) -> nn.Module:
    """A layer of the checkpoint's model with its weight rounded; a linear one without its bias, which comes after."""
    made = copy.deepcopy(module).double()
    assert isinstance(made, nn.Linear | nn.Conv2d)
    weight = made.weight.detach().numpy().astype(np.float32 if precision == "fp32" else np.float16)
    made.weight.data = torch.from_numpy(fake_weight(weight, 0))
    if isinstance(made, nn.Linear):
        made.bias = None
    return made


@pytest.mark.parametrize(("family", "form", "precision"), FORMS)
def test_every_layer_computes_what_the_layer_of_that_name_computes_on_rounded_numbers(
    encoder: Encoder,
    model_named: Models,
    answers: Answers,
    peak_scales: Scales,
    pixels: dict[str, AnyArray],
    family: str,
    form: str,
    precision: str,
) -> None:
    model = encoder(family, form, precision)
    modules = formed_model(model_named(family), "encoder").image_encoder
    scales = peak_scales(model)
    layers = quantisable(model)
    names = [name for layer in layers for name in (layer.input, layer.output)]
    found = dict(zip(names, answers(quantised(model, scales), pixels, *names), strict=True))
    for layer in layers:
        x = torch.from_numpy(fake(found[layer.input], scales[layer.name]))
        expected = rounded_module(modules.get_submodule(layer.name), precision)(x).numpy()
        # The mean: a number half-way between two steps may go either way; ONNX Runtime divides in float16.
        off = np.abs(found[layer.output] - expected).mean() / np.abs(expected).mean()
        assert off < (2e-5 if precision == "fp32" else 5e-2), layer.name  # 2.2e-2 in ONNX Runtime 1.23, 3e-3 in 1.32


@pytest.mark.parametrize(("family", "form", "precision"), FORMS)
def test_the_whole_encoder_loses_little_and_is_checked(
    encoder: Encoder,
    int8_encoder: Encoder,
    answers: Answers,
    pixels: dict[str, AnyArray],
    family: str,
    form: str,
    precision: str,
) -> None:
    model, made = (make(family, form, precision) for make in (encoder, int8_encoder))
    onnx.checker.check_model(made, full_check=True)
    exact, found = (answers(one, pixels)[0] for one in (model, made))
    off = np.abs(found - exact).max() / np.abs(exact).max()
    assert 1e-4 < off < 0.06


SCALES = {"conv": 0.02, "one": 0.1, "two": 0.1, "gemm": 0.5}  # the first cuts off what is above 2.54


def toy_oracle(model: onnx.ModelProto, x: AnyArray) -> AnyArray:
    weights = {one.name.split(".")[0]: numpy_helper.to_array(one) for one in model.graph.initializer}
    cut = np.lib.stride_tricks.sliding_window_view(fake(x, SCALES["conv"]), (3, 3), axis=(2, 3))[0, :, ::2, ::2]
    y = np.einsum("cijkl,ockl->oij", cut, fake_weight(weights["conv"], 0)) + weights["bias"][:, None, None]
    z = fake(y.reshape(-1, 8).astype(np.float32), SCALES["one"])
    c = z @ fake_weight(weights["one"], 1) + z @ fake_weight(weights["two"], 1)
    return fake(c.astype(np.float32), SCALES["gemm"]) @ fake_weight(weights["gemm"], 0).T


def toy_input() -> AnyArray:
    return np.random.default_rng(4).normal(0, 2, (1, 3, 6, 6)).astype(np.float32)


def test_onnx_runtime_computes_what_numpy_computes(toy: Toy, answers: Answers) -> None:
    x = toy_input()
    assert np.abs(x).max() > 127 * SCALES["conv"]
    np.testing.assert_allclose(answers(quantised(toy(), SCALES), {"x": x})[0], toy_oracle(toy(), x), rtol=0, atol=1e-4)


def test_openvino_computes_what_numpy_computes(toy: Toy) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.read_model(quantised(toy(), SCALES).SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = toy_input()
    np.testing.assert_allclose(compiled({"x": x})[0], toy_oracle(toy(), x), rtol=0, atol=1e-4)


def test_unsigned_bytes_stand_for_the_same_numbers(toy: Toy, answers: Answers) -> None:
    x, made = toy_input(), quantised(toy(), SCALES, style=Style.UNSIGNED)
    np.testing.assert_allclose(answers(made, {"x": x})[0], toy_oracle(toy(), x), rtol=0, atol=1e-4)
    zeros = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer if one.name.endswith("input/zero")}
    assert {(zero.dtype.name, int(zero)) for zero in zeros.values()} == {("uint8", 128)}


@pytest.mark.parametrize(("family", "form"), [("vit", "plain"), ("vit", "tiled"), ("tiny_vit", "folded")])
def test_every_product_of_attention_computes_on_rounded_numbers(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray], family: str, form: str
) -> None:
    model = encoder(family, form)
    found = products(model)
    factors = {one.output: Factors(1 / 255 if one.of_softmax else 0.03, 0.04) for one in found}
    made = quantised(model, {}, factors)
    names = [name for one in found for name in (one.left, one.right, one.output)]
    values = iter(answers(made, pixels, *names))
    for one in found:
        left, right, product = next(values), next(values), next(values)
        rounded = np.rint(left * 255) / 255 if one.of_softmax else fake(left, factors[one.output].left)
        np.testing.assert_allclose(product, rounded @ fake(right, 0.04), rtol=0, atol=2e-3)
        assert np.abs(product - left @ right).max() > 1e-3  # rounding is seen at all


def test_an_unknown_product_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="found x"):
        quantised(encoder("vit", "plain"), {}, {"x": Factors(1, 1)})


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_layers_that_read_one_tensor_share_its_quantisation_where_the_scale_is_the_same(toy: Toy) -> None:
    assert kinds(quantised(toy(), {"one": 0.1, "two": 0.1})).count("QuantizeLinear") == 1
    assert kinds(quantised(toy(), {"one": 0.1, "two": 0.2})).count("QuantizeLinear") == 2


def test_what_is_not_named_stays_and_the_argument_is_not_changed(toy: Toy) -> None:
    model = toy()
    before = model.SerializeToString()
    made = quantised(model, {"one": 0.1})
    assert model.SerializeToString() == before
    constants = {one.name: one for one in made.graph.initializer}
    assert "one.weight" not in constants
    assert constants["two.weight"] == next(one for one in model.graph.initializer if one.name == "two.weight")
    assert {one.data_type for name, one in constants.items() if name.endswith(("int8", "zero"))} == {
        onnx.TensorProto.INT8
    }
    layers: tuple[Layer, ...] = quantisable(made)
    assert [layer.name for layer in layers] == ["conv", "two", "gemm"]
    assert quantised(model, {}).SerializeToString() == before


def test_float16_scales_raise_the_opset_and_float32_scales_do_not(toy: Toy) -> None:
    assert quantised(toy(), SCALES).opset_import[0].version == 18
    made = quantised(toy(dtype=np.float16), SCALES)
    assert made.opset_import[0].version == 19
    types = {one.data_type for one in made.graph.initializer if one.name.endswith("/scale")}
    assert types == {onnx.TensorProto.FLOAT16}
    onnx.checker.check_model(made, full_check=True)


@pytest.mark.parametrize(("opset", "dtype"), [(12, np.float32), (21, np.float32), (17, np.float16)])
def test_an_opset_too_old_or_too_new_is_refused(toy: Toy, opset: int, dtype: type) -> None:
    with pytest.raises(UsageError, match=f"found {opset}"):
        quantised(toy(opset, dtype), SCALES)


def test_an_unknown_layer_is_refused_with_the_known_ones(toy: Toy) -> None:
    with pytest.raises(UsageError, match=r"conv, one, two, gemm; found neck\.0"):
        quantised(toy(), {"neck.0": 0.1})
