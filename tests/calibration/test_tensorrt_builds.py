"""TensorRT's own parser and builder take every float16 and int8 graph, int8 layers become int8, attention stays fused.

TensorRT-RTX needs no GPU for that, and its log lists the engine's layers with the types that they multiply. How fast
they are is another matter, which only a device can show.
"""

from collections.abc import Callable, Mapping

import onnx
import pytest
import torch
from medsam_edge.calibration.half import halved
from medsam_edge.calibration.islands import float32_nodes
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.lint import lint
from medsam_edge.calibration.qdq import quantised
from medsam_edge.export.architecture import model_of
from medsam_edge.export.attention_forms import written_out
from medsam_edge.export.checkpoint import read_checkpoint
from medsam_edge.export.demo_checkpoint import demo_checkpoint
from medsam_edge.export.graphs import finished, trace_decoder, trace_encoder
from medsam_edge.export.models.config import SamConfig
from medsam_edge.export.models.image_encoder import ImageEncoder
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.random_weights import random_checkpoint
from medsam_edge.export.variants import formed_model
from medsam_edge.runtime.profile import Profile, litemedsam, medsam

Encoder = Callable[..., onnx.ModelProto]
# What the builder says to ONNX files, one answer a file.
Ask = Callable[..., list[dict[str, object]]]
MIB = 2**20
LIMIT = 150 * MIB  # of ViT-B's encoder, as in tests/export/test_tensorrt.py


def encoder_of(model: Sam, profile: Profile, form: str = "concat") -> onnx.ModelProto:
    traced = trace_encoder(formed_model(model, "encoder"), profile).model
    made = written_out(traced, form) if isinstance(model.image_encoder, ImageEncoder) else traced
    return onnx.load_from_string(finished(made))


def typed(model: onnx.ModelProto, *blocks: str, softmax: bool = False) -> onnx.ModelProto:
    return halved(model, float32_nodes(model, blocks, softmax=softmax))


def int8(model: onnx.ModelProto, *kept: str) -> onnx.ModelProto:
    """The builder asks for no particular scales."""
    made = quantised(model, {layer.name: 0.02 for layer in quantisable(model) if layer.block not in kept})
    assert not lint(made)
    return made


def built(tensorrt: Ask, verb: str = "build", **graphs: onnx.ModelProto) -> dict[str, Mapping[str, int]]:
    """Return activation bytes, and products by the types that are multiplied, of each graph's engine."""
    answers = tensorrt(verb, [graph.SerializeToString() for graph in graphs.values()])
    assert [one["accepted"] for one in answers] == [True] * len(answers), answers
    found = {}
    for name, one in zip(graphs, answers, strict=True):
        assert isinstance(one["products"], dict)
        assert isinstance(one["activation_bytes"], int)
        found[name] = {"activation": one["activation_bytes"], **one["products"]}
    return found


def test_the_demos_int8_layers_become_int8_and_all_graphs_are_built(tensorrt: Ask) -> None:
    model = encoder_of(model_of(read_checkpoint(demo_checkpoint()).tensors), medsam(256))
    layers = quantisable(model)
    neck = [layer for layer in layers if layer.block == "neck"]
    half = typed(model)
    found = built(tensorrt, half=half, int8=int8(half), kept=int8(typed(model, "blocks.1"), "neck", "blocks.1"))
    assert "Int8xInt8" not in found["half"]
    assert found["int8"]["Int8xInt8"] == len(layers)
    assert found["kept"]["Int8xInt8"] == len(layers) - len(neck) - 4
    assert found["kept"]["FloatxFloat"] >= 4  # the island's layers
    assert "FloatxFloat" not in found["int8"]


def test_attention_is_fused_beside_int8_layers_and_not_on_an_island(tensorrt: Ask) -> None:
    """One block of two heads and 4096 tokens, as a global block of ViT-B has."""
    torch.manual_seed(0)
    model = encoder_of(Sam(SamConfig(256, 4, 128, 1, 2, 256, 7, (0,), prompt_dim=64, decoder_mlp_dim=32)), medsam(256))
    graphs = {"int8": int8(typed(model)), "softmax": typed(model, softmax=True), "island": typed(model, "blocks.0")}
    found = built(tensorrt, **graphs)
    scores = 2 * 4096**2 * 2
    assert found["int8"]["activation"] < scores
    assert found["softmax"]["activation"] > 0
    assert found["island"]["activation"] > scores


def test_a_tiny_vit_and_a_decoder_are_built(tensorrt: Ask, encoder: Encoder, model_named: Callable[[str], Sam]) -> None:
    tiny = typed(encoder("tiny_vit", "folded"))
    traced = trace_decoder(formed_model(model_named("vit"), "decoder")).model
    decoder = typed(onnx.load_from_string(finished(traced)))
    found = built(tensorrt, tiny=tiny, int8=int8(tiny), decoder=decoder)
    assert found["int8"]["Int8xInt8"] >= len(quantisable(tiny))


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["SM86", "SM89"])
def test_full_size_int8_is_built_with_fused_attention(tensorrt: Ask, capability: str) -> None:
    vit = encoder_of(model_of(random_checkpoint("medsam-vit-b").tensors), medsam(1024))
    lite = encoder_of(model_of(random_checkpoint("litemedsam").tensors), litemedsam(256))
    halves = {"vit": typed(vit), "lite": typed(lite)}
    found = built(tensorrt, f"build-{capability}", **{name: int8(half) for name, half in halves.items()})
    assert found["vit"]["Int8xInt8"] == len(quantisable(vit))
    assert found["lite"]["Int8xInt8"] == len(quantisable(lite))
    assert found["vit"]["activation"] <= LIMIT, f"{found['vit']['activation'] / MIB:.0f} MiB"
