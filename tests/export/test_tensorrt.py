"""TensorRT's own parser and strongly typed builder take every exported graph (TensorRT-RTX: no GPU needed).

That they are fast on a device is another matter, which only a device can show.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from medsam_edge.export.architecture import model_of
from medsam_edge.export.attention_forms import written_out
from medsam_edge.export.graphs import Graph, finished, trace_encoder
from medsam_edge.export.models.config import LITE_MEDSAM, MOBILE_SAM, SamConfig
from medsam_edge.export.models.half import Half
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.random_weights import random_checkpoint
from medsam_edge.export.variants import TARGETS, chosen, export_graphs, formed_model, replaced
from medsam_edge.runtime.profile import Profile, litemedsam, medsam, medsam_hf_wanglab

# What the parser or the builder says to ONNX files, one answer a file.
Ask = Callable[..., list[dict[str, object]]]
MIB = 2**20
LIMIT = 150 * MIB  # of the float16 encoder of ViT-B
SMALL = {"widths": (16, 32, 40, 80), "depths": (1, 1, 1, 1), "heads": (1, 1, 1, 2)}


def tiny_vit(patch_kernel: int) -> Sam:
    torch.manual_seed(0)
    known = LITE_MEDSAM if patch_kernel == 1 else MOBILE_SAM
    return Sam(replace(known, image_size=64 * patch_kernel, **SMALL)).eval()


@pytest.fixture(scope="module")
def graphs(sam: Sam) -> tuple[Graph, ...]:
    """Every form of a small ViT; a profile with a second input; both TinyViTs."""
    models: tuple[tuple[Sam, Profile, str | None], ...] = (
        (sam, medsam(64), None),
        (sam, medsam(64), "bias"),
        (sam, medsam(64), "plain"),
        (sam, medsam_hf_wanglab(64), None),
        (tiny_vit(1), litemedsam(64), None),
        (tiny_vit(3), litemedsam(192), None),
    )
    return tuple(graph for model in models for graph in export_graphs(model[0], model[1], tuple(TARGETS), model[2]))


def test_the_parser_takes_a_small_vits_graphs(tensorrt: Ask, small_graphs: tuple[Graph, ...]) -> None:
    found = tensorrt("parse", [graph.data for graph in small_graphs])
    assert [one["accepted"] for one in found] == [True] * len(small_graphs), found


def half_encoders(model: Sam, profile: Profile, forms: Sequence[str]) -> list[Graph]:
    """A float16 encoder in some forms of its attention, from one trace."""
    formed = formed_model(model, "encoder")
    traced = trace_encoder(replaced(formed, "image_encoder", Half(formed.image_encoder)), profile)
    return [Graph(traced.spec, finished(written_out(traced.model, form)), "fp16", form) for form in forms]


def activation_bytes(tensorrt: Ask, graphs: Sequence[Graph]) -> list[int]:
    found = tensorrt("build", [graph.data for graph in graphs])
    assert [one["accepted"] for one in found] == [True] * len(graphs), found
    return [int(str(one["activation_bytes"])) for one in found]


def test_what_tensorrt_fuses_holds_no_scores_and_what_it_does_not_does(tensorrt: Ask) -> None:
    """One block of two heads and 4096 tokens, as a global block of ViT-B has."""
    torch.manual_seed(0)
    config = SamConfig(256, 4, 128, 1, 2, 256, 7, (0,), prompt_dim=64, decoder_mlp_dim=32)
    graphs = half_encoders(Sam(config).eval(), medsam(256), ("concat", "bias"))
    fused, open_ = activation_bytes(tensorrt, graphs)
    scores = 2 * 4096**2 * 2
    assert fused < scores < open_


@pytest.mark.slow
def test_the_builder_takes_every_graph(tensorrt: Ask, graphs: tuple[Graph, ...]) -> None:
    found = tensorrt("build", [graph.data for graph in graphs])
    assert [one["accepted"] for one in found] == [True] * len(graphs), found


@pytest.mark.slow
def test_the_full_size_float16_encoder_needs_little_memory(tensorrt: Ask) -> None:
    """Scores of one global block alone would be 384 MiB: the limit holds only where attention is fused."""
    exported = export_graphs(model_of(random_checkpoint("medsam-vit-b").tensors), medsam(1024), ["tensorrt"])
    lite = export_graphs(model_of(random_checkpoint("litemedsam").tensors), litemedsam(256), ["tensorrt"])
    half = [chosen(some, part, "fp16", "tensorrt") for some in (exported, lite) for part in ("encoder", "decoder")]
    activation = activation_bytes(tensorrt, half)[0]
    assert activation <= LIMIT, f"{activation / MIB:.0f} MiB"


@pytest.mark.slow
def test_the_same_encoder_in_the_bias_form_needs_more(tensorrt: Ask) -> None:
    """The control: without it, a limit that any form keeps would pass as fused attention."""
    model = model_of(random_checkpoint("medsam-vit-b").tensors)
    (activation,) = activation_bytes(tensorrt, half_encoders(model, medsam(1024), ["bias"]))
    assert activation > LIMIT, f"{activation / MIB:.0f} MiB"
