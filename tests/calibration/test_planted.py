"""Outlier channels are planted where they are said to be, and change nothing but what int8 loses."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.balance import balanced
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.planted import Outliers, block_outputs, planted
from medsam_edge.calibration.qdq import quantised
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import AnyArray
from onnx import numpy_helper

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]
FORMS = ("bias", "tiled", "concat")
READ = ("attn.qkv", "attn.proj", "mlp.lin1")  # those whose input gets outliers


def peaks(answers: Answers, model: onnx.ModelProto, pixels: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """The largest magnitude of each channel of each linear layer's input."""
    layers = [layer for layer in quantisable(model) if layer.kind != "Conv"]
    found = answers(model, pixels, *(layer.input for layer in layers))
    return {layer.name: np.abs(one).reshape(-1, one.shape[-1]).max(0) for layer, one in zip(layers, found, strict=True)}


def cosine(one: AnyArray, other: AnyArray) -> float:
    return float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("form", FORMS)
def test_the_function_stays_and_so_do_names(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray], form: str
) -> None:
    model = encoder("vit", form)
    before = model.SerializeToString()
    made = planted(model, Outliers())
    onnx.checker.check_model(made, full_check=True)
    assert model.SerializeToString() == before
    assert [layer.name for layer in quantisable(made)] == [layer.name for layer in quantisable(model)]
    tensors = block_outputs(model)
    assert block_outputs(made) == tensors
    for one, other in zip(
        answers(model, pixels, *tensors.values()), answers(made, pixels, *tensors.values()), strict=True
    ):
        np.testing.assert_allclose(other, one, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize("form", FORMS)
def test_channels_become_as_large_as_was_asked_for(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray], form: str
) -> None:
    model = encoder("vit", form)
    then = peaks(answers, model, pixels)
    now = peaks(answers, planted(model, Outliers(factor=30, channels=3)), pixels)
    for name, before in then.items():
        grown = np.isclose(now[name] / before, 30, rtol=1e-3)
        assert int(grown.sum()) == (3 if name.endswith(READ) else 0), name
        np.testing.assert_allclose(now[name][~grown], before[~grown], rtol=1e-2)
    channels = {name: tuple(np.flatnonzero(now[name] > 5 * before)) for name, before in then.items()}
    behind_norms = {channels[name] for name in channels if name.endswith(("attn.qkv", "mlp.lin1"))}
    assert len(behind_norms) == 1
    assert channels["blocks.0.attn.proj"] != channels["blocks.1.attn.proj"]


def test_only_the_named_blocks_get_any(encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray]) -> None:
    model = encoder("vit", "tiled")
    then, now = peaks(answers, model, pixels), peaks(answers, planted(model, Outliers(blocks=(1,))), pixels)
    touched = {name for name, before in then.items() if (now[name] > 5 * before).any()}
    assert touched == {f"blocks.1.{layer}" for layer in READ}


def test_constants_that_other_layers_share_stay_theirs(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray]
) -> None:
    """The exporter keeps one copy of equal constants, such as biases of zeros."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder("vit", "tiled"))
    biases = [one for one in model.graph.initializer if one.name.endswith("attn.qkv.bias")]
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == biases[1].name:
                node.input[place] = biases[0].name
    [exact] = answers(model, pixels)
    for blocks in ((0,), (1,), ()):
        [found] = answers(_renamed(model), pixels)
        np.testing.assert_array_equal(found, exact)
        [found] = answers(planted(_renamed(model), Outliers(blocks=blocks)), pixels)
        np.testing.assert_allclose(found, exact, atol=1e-4 * np.abs(exact).max())


def _renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Name weights as the checkpoint does: a shared bias names no layer."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = {
        layer.weight: f"model.image_encoder.{block}.attn.qkv.weight"
        for block, layer in zip(
            ("blocks.0", "blocks.1"),
            [one for one in quantisable(model) if one.weight_shape == (32, 96)],
            strict=True,
        )
    }
    for constant in made.graph.initializer:
        constant.name = names.get(constant.name, constant.name)
    for node in made.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    return made


def test_int8_loses_by_them_and_balancing_wins_back_what_is_behind_norms(
    encoder: Encoder,
    answers: Answers,
    peak_scales: Callable[[onnx.ModelProto], dict[str, float]],
    pixels: dict[str, AnyArray],
) -> None:
    model = encoder("vit", "tiled")
    made = planted(model, Outliers(factor=60, channels=1))
    [exact] = answers(model, pixels)

    def agreement(one: onnx.ModelProto, layers: tuple[str, ...]) -> float:
        scales = {name: scale for name, scale in peak_scales(one).items() if name.endswith(layers)}
        return cosine(answers(quantised(one, scales), pixels)[0], exact)

    behind_norms = ("attn.qkv", "mlp.lin1")
    plain, hurt = agreement(model, behind_norms), agreement(made, behind_norms)
    healed = agreement(balanced(made, peaks(answers, made, pixels), 0.5), behind_norms)
    assert 1 - hurt > 10 * (1 - plain)
    assert 1 - healed < (1 - hurt) / 10
    values = agreement(made, ("attn.proj",))
    assert 1 - values > 10 * (1 - agreement(model, ("attn.proj",)))
    unreached = agreement(balanced(made, peaks(answers, made, pixels), 0.5), ("attn.proj",))
    assert 1 - unreached > (1 - values) / 2


def test_blocks_hand_on_what_the_next_ones_read(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray]
) -> None:
    model = encoder("vit", "concat")
    tensors = block_outputs(model)
    assert list(tensors) == ["blocks.0", "blocks.1"]
    found = answers(model, pixels, *tensors.values())
    assert [one.shape for one in found] == [(1, 64, 32)] * 2
    readers = [node.op_type for node in model.graph.node if tensors["blocks.0"] in node.input]
    assert sorted(readers) == ["Add", "LayerNormalization"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"factor": 1.0}, "a factor above 1"),
        ({"factor": float("inf")}, "a factor above 1"),
        ({"channels": 0}, "at least one channel"),
    ],
)
def test_senseless_outliers_are_refused(asked: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Outliers(**asked)  # type: ignore[arg-type]


def test_what_the_encoder_does_not_have_is_refused(encoder: Encoder, toy: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(UsageError, match=r"blocks among blocks\.0, blocks\.1; found blocks\.7"):
        planted(encoder("vit", "tiled"), Outliers(blocks=(0, 7)))
    with pytest.raises(UsageError, match="at most half of 32 channels"):
        planted(encoder("vit", "tiled"), Outliers(channels=17))
    for other in (toy(), encoder("tiny_vit", "folded")):
        with pytest.raises(UsageError, match="SAM's ViT"):
            planted(other, Outliers())
        with pytest.raises(UsageError, match="SAM's ViT"):
            block_outputs(other)


def test_the_same_seed_plants_the_same(encoder: Encoder) -> None:
    model = encoder("vit", "tiled")
    first, again, other = (planted(model, Outliers(seed=seed)).SerializeToString() for seed in (0, 0, 1))
    assert first == again != other


def test_a_graph_without_weights_of_its_own_keeps_every_dtype(encoder: Encoder) -> None:
    model = encoder("vit", "tiled")
    kinds = {one.name: one.data_type for one in model.graph.initializer}
    made = {one.name: numpy_helper.to_array(one).dtype for one in planted(model, Outliers()).graph.initializer}
    assert all(made[name] == numpy_helper.helper.tensor_dtype_to_np_dtype(kinds[name]) for name in made & kinds.keys())
