"""TensorRT's own parser and strongly typed builder take every exported graph (TensorRT-RTX: no GPU needed).

That they are fast on a device is another matter, which only a device can show.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

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

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

MIB = 2**20
LIMIT = 150 * MIB  # of the float16 encoder of ViT-B
SMALL = {"widths": (16, 32, 40, 80), "depths": (1, 1, 1, 1), "heads": (1, 1, 1, 2)}


def asked(verb: str, graphs: Sequence[Graph], folder: Path) -> list[dict[str, object]]:
    paths = [folder / f"{index}.onnx" for index, _ in enumerate(graphs)]
    for path, graph in zip(paths, graphs, strict=True):
        path.write_bytes(graph.data)
    script = Path(__file__).with_name("tensorrt_builder.py")
    done = subprocess.run([sys.executable, script, verb, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


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


def test_the_parser_takes_a_small_vits_graphs(small_graphs: tuple[Graph, ...], tmp_path: Path) -> None:
    found = asked("parse", small_graphs, tmp_path)
    assert [one["accepted"] for one in found] == [True] * len(small_graphs), found


def half_encoders(model: Sam, profile: Profile, forms: Sequence[str]) -> list[Graph]:
    """A float16 encoder in some forms of its attention, from one trace."""
    formed = formed_model(model, "encoder")
    traced = trace_encoder(replaced(formed, "image_encoder", Half(formed.image_encoder)), profile)
    return [Graph(traced.spec, finished(written_out(traced.model, form)), "fp16", form) for form in forms]


def activation_bytes(graphs: Sequence[Graph], folder: Path) -> list[int]:
    found = asked("build", graphs, folder)
    assert [one["accepted"] for one in found] == [True] * len(graphs), found
    return [int(str(one["activation_bytes"])) for one in found]


def test_what_tensorrt_fuses_holds_no_scores_and_what_it_does_not_does(tmp_path: Path) -> None:
    """One block of two heads and 4096 tokens, as a global block of ViT-B has."""
    torch.manual_seed(0)
    config = SamConfig(256, 4, 128, 1, 2, 256, 7, (0,), prompt_dim=64, decoder_mlp_dim=32)
    graphs = half_encoders(Sam(config).eval(), medsam(256), ("concat", "bias"))
    fused, open_ = activation_bytes(graphs, tmp_path)
    scores = 2 * 4096**2 * 2
    assert fused < scores < open_


@pytest.mark.slow
def test_the_builder_takes_every_graph(graphs: tuple[Graph, ...], tmp_path: Path) -> None:
    found = asked("build", graphs, tmp_path)
    assert [one["accepted"] for one in found] == [True] * len(graphs), found


@pytest.mark.slow
def test_the_full_size_float16_encoder_needs_little_memory(tmp_path: Path) -> None:
    """Scores of one global block alone would be 384 MiB: the limit holds only where attention is fused."""
    exported = export_graphs(model_of(random_checkpoint("medsam-vit-b").tensors), medsam(1024), ["tensorrt"])
    lite = export_graphs(model_of(random_checkpoint("litemedsam").tensors), litemedsam(256), ["tensorrt"])
    half = [chosen(some, part, "fp16", "tensorrt") for some in (exported, lite) for part in ("encoder", "decoder")]
    activation = activation_bytes(half, tmp_path)[0]
    assert activation <= LIMIT, f"{activation / MIB:.0f} MiB"


@pytest.mark.slow
def test_the_same_encoder_in_the_bias_form_needs_more(tmp_path: Path) -> None:
    """The control: without it, a limit that any form keeps would pass as fused attention."""
    model = model_of(random_checkpoint("medsam-vit-b").tensors)
    (activation,) = activation_bytes(half_encoders(model, medsam(1024), ["bias"]), tmp_path)
    assert activation > LIMIT, f"{activation / MIB:.0f} MiB"
