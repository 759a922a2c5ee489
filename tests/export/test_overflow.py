"""Planted outliers are found and named, wherever they are: in a layer, a residual, a score, in both parts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.export import pipeline, trials
from medsam_edge.export.graphs import Graph
from medsam_edge.export.models.config import LITE_MEDSAM, SamConfig, TinyVitConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.overflow import LARGEST, Peak, model_peaks, require_room, worst
from medsam_edge.export.pipeline import ExportResult, export_bundle
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ParityError
from medsam_edge.runtime.profile import litemedsam, medsam
from medsam_edge.runtime.types import Case
from safetensors.torch import save_file

TINY_VIT = replace(LITE_MEDSAM, image_size=64, widths=(16, 32, 40, 80), depths=(1, 1, 1, 1), heads=(1, 1, 1, 2))
CASE = phantom(0, "CT", (96, 96))


@pytest.fixture
def vit(model_with: Callable[[SamConfig], Sam], tiny_config: SamConfig) -> Sam:
    return model_with(tiny_config)


@pytest.fixture
def tiny_vit(model_with: Callable[[TinyVitConfig], Sam]) -> Sam:
    return model_with(TINY_VIT)


@torch.no_grad()
def plant(model: Sam, name: str, value: float, channels: slice = slice(3, 4)) -> None:
    """Put an outlier into a channel of a parameter; the last axis of the position code, the first of all others."""
    parameter = model.get_parameter(name)
    (parameter.movedim(-1, 0) if "pos_embed" in name else parameter)[channels] = value


def found_in(model: Sam, cases: Sequence[Case] = (CASE,)) -> tuple[Peak, ...]:
    profile = medsam(64) if isinstance(model.config, SamConfig) else litemedsam(64)
    return model_peaks(model, profile, cases)


def test_every_block_of_both_parts_is_watched_in_order(vit: Sam) -> None:
    found = found_in(vit)
    encoder = ["patch_embed", "", "blocks.0", "blocks.1", "neck"]
    decoder = ["", "transformer.layers.0", "transformer.layers.1", "transformer", "hypernetwork", "upscaling"]
    assert [peak.block for peak in found if peak.part == "encoder"] == encoder
    assert [peak.block for peak in found if peak.part == "decoder"] == [*decoder, "iou_prediction_head"]
    assert all(0 < peak.largest < LARGEST for peak in found)
    require_room(found)


def test_every_block_of_a_tiny_vit_is_watched(tiny_vit: Sam) -> None:
    found = found_in(tiny_vit)
    blocks = [name for index in range(3) for name in (f"layers.{index}.blocks.0", f"layers.{index}")]
    expected = ["patch_embed", *blocks, "layers.3.blocks.0", "neck"]
    assert [peak.block for peak in found if peak.part == "encoder"] == expected
    require_room(found)


BLOCK, WAY = "image_encoder.blocks.1.", "mask_decoder.transformer.layers.1."
STAGES = "image_encoder.layers."


def check_named(model: Sam, planted: dict[str, float], place: str) -> None:
    for name, value in planted.items():
        plant(model, name, value)
    found = found_in(model)
    assert worst(found).place == place
    with pytest.raises(ParityError, match=rf"at most 65504.*found .*e\+\d\d in {re.escape(place)}"):
        require_room(found)


@pytest.mark.parametrize(
    ("planted", "place"),
    [
        ({"image_encoder.pos_embed": 8e4}, "encoder (add)"),
        ({f"{BLOCK}mlp.lin1.bias": 8e4}, "encoder blocks.1 mlp.lin1 (linear)"),
        ({f"{BLOCK}attn.qkv.bias": 8e4}, "encoder blocks.1 attn.qkv (linear)"),
        ({f"{BLOCK}attn.proj.bias": 8e4}, "encoder blocks.1 attn.proj (linear)"),
        # Two halves that float16 holds; what they add up to leaves the block no more than it came in.
        ({"image_encoder.pos_embed": 5e4, f"{BLOCK}attn.proj.bias": 4e4, f"{BLOCK}mlp.lin2.bias": -4e4},
         "encoder blocks.1 (add)"),
        ({f"{WAY}mlp.lin1.bias": 8e4}, "decoder transformer.layers.1 mlp.lin1 (linear)"),
        ({f"{WAY}norm2.bias": -4e4, f"{WAY}mlp.lin2.bias": -4e4}, "decoder transformer.layers.1 (add)"),
        ({f"{WAY}norm4.bias": 8e4}, "decoder transformer.layers.1 norm4 (layer_norm)"),
        ({"mask_decoder.output_upscaling.0.bias": 8e4}, "decoder upscaling first (add)"),
        ({"mask_decoder.output_upscaling.3.bias": -8e4}, "decoder upscaling second (add)"),
        ({"mask_decoder.output_upscaling.3.bias": 5e4, "mask_decoder.output_hypernetworks_mlps.0.layers.2.bias": 9},
         "decoder upscaling (matmul)"),
        ({"mask_decoder.iou_prediction_head.layers.1.bias": 8e4}, "decoder iou_prediction_head layers.1 (linear)"),
    ],
)  # fmt: skip
def test_an_outlier_in_a_vit_or_the_decoder_is_named(vit: Sam, planted: dict[str, float], place: str) -> None:
    check_named(vit, planted, place)


@pytest.mark.parametrize(
    ("planted", "place"),
    [
        ({f"{STAGES}1.blocks.0.local_conv.bn.bias": 8e4}, "encoder layers.1.blocks.0 local_conv (conv2d)"),
        # MBConv's residual: the GELU behind it makes it 0, and no layer's output shows it.
        ({"image_encoder.patch_embed.seq.2.bn.bias": -4e4, f"{STAGES}0.blocks.0.conv3.bn.bias": -4e4},
         "encoder layers.0.blocks.0 (add)"),
        # The residual of the attention: a convolution that ignores the channel hides it.
        ({f"{STAGES}0.downsample.conv3.bn.bias": 4e4, f"{STAGES}1.blocks.0.attn.proj.bias": 4e4,
          f"{STAGES}1.blocks.0.local_conv.c.weight": 0}, "encoder layers.1.blocks.0 (add)"),
        ({f"{STAGES}0.downsample.conv1.bn.bias": 8e4}, "encoder layers.0 downsample.conv1 (conv2d)"),
        ({f"{STAGES}2.blocks.0.mlp.fc1.bias": 8e4}, "encoder layers.2.blocks.0 mlp.fc1 (linear)"),
        ({f"{WAY}mlp.lin1.bias": 8e4}, "decoder transformer.layers.1 mlp.lin1 (linear)"),
    ],
)  # fmt: skip
def test_an_outlier_in_a_tiny_vit_is_named(tiny_vit: Sam, planted: dict[str, float], place: str) -> None:
    check_named(tiny_vit, planted, place)


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        (["image_encoder.blocks.0.attn.qkv"], "encoder blocks.0 attn.attend (matmul)"),
        ([f"{WAY}self_attn.q_proj", f"{WAY}self_attn.k_proj"], "decoder transformer.layers.1 self_attn (matmul)"),
        ([f"{WAY}cross_attn_image_to_token.q_proj", f"{WAY}cross_attn_image_to_token.k_proj"],
         "decoder transformer.layers.1 cross_attn_image_to_token (mul)"),
    ],
)  # fmt: skip
def test_scores_are_watched(vit: Sam, layers: list[str], place: str) -> None:
    """Query and key fit into float16 here, their product does not."""
    for name in layers:
        plant(vit, f"{name}.bias", 3000, slice(None))
    assert worst(found_in(vit)).place == place


@pytest.mark.parametrize(
    ("name", "value", "operation"), [("qkv.bias", 3000, "matmul"), ("attention_biases", 8e4, "add")]
)
def test_scores_of_a_tiny_vit_are_watched(tiny_vit: Sam, name: str, value: float, operation: str) -> None:
    plant(tiny_vit, f"{STAGES}2.blocks.0.attn.{name}", value, slice(None))
    assert worst(found_in(tiny_vit)).place == f"encoder layers.2.blocks.0 attn ({operation})"


def test_the_plain_form_is_watched_as_it_is(vit: Sam) -> None:
    plant(vit, "mask_decoder.output_upscaling.0.bias", 8e4)
    found = model_peaks(vit, medsam(64), [CASE], plain=True)
    assert worst(found).place == "decoder output_upscaling 0 (conv_transpose2d)"


def test_what_is_outside_float16_is_not_watched(vit: Sam) -> None:
    """Box coordinates and the image's normalisation stay float32: no peak is theirs, however large."""
    vit.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= 1e6
    assert not worst(found_in(vit)).overflows


def test_the_largest_of_several_images_counts(vit: Sam) -> None:
    other = phantom(1, "Dermoscopy", (96, 96))
    one, two, both = ([peak.largest for peak in found_in(vit, cases)] for cases in ([CASE], [other], [CASE, other]))
    assert both == [max(pair) for pair in zip(one, two, strict=True)]
    assert both not in (one, two)


def test_the_first_operation_that_overflows_is_kept(vit: Sam) -> None:
    """What comes later mends nothing, and is not where it began."""
    plant(vit, f"{BLOCK}attn.qkv.bias", 7e4)
    plant(vit, f"{BLOCK}mlp.lin1.bias", 9e4)
    assert worst(found_in(vit, [CASE, CASE])).layer == "attn.qkv"


def test_nan_is_found(vit: Sam) -> None:
    plant(vit, f"{BLOCK}mlp.lin2.bias", float("nan"))
    found = found_in(vit)
    assert worst(found).place == "encoder blocks.1 mlp.lin2 (linear)"
    assert [peak.overflows for peak in found[:5]] == [False, False, False, True, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 65505.0])
def test_what_float16_cannot_hold_overflows(value: float) -> None:
    assert Peak("encoder", "blocks.0", "", "add", value).overflows
    assert not Peak("encoder", "blocks.0", "", "add", 65504.0).overflows


def test_nothing_is_left_on_the_model(vit: Sam) -> None:
    found_in(vit)
    model_peaks(vit, medsam(64), [CASE], plain=True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vit.modules())


@pytest.fixture
def half_export(
    monkeypatch: pytest.MonkeyPatch, small_graphs: tuple[Graph, ...], phantom_cases: tuple[Case, ...], tmp_path: Path
) -> Callable[[Path, Callable[[str], None]], ExportResult]:
    """An export for TensorRT whose graphs are exported already."""
    monkeypatch.setattr(pipeline, "export_graphs", lambda *_: small_graphs)
    monkeypatch.setattr(trials, "available", lambda: ("onnxruntime",))
    return lambda path, say: export_bundle(path, tmp_path / "b", phantom_cases, "medsam", say, ["tensorrt"])


def test_the_record_and_the_line_name_part_block_and_layer(
    half_export: Callable[[Path, Callable[[str], None]], ExportResult], checkpoint: Path
) -> None:
    told: list[str] = []
    bundle = half_export(checkpoint, told.append).bundle
    record = open_bundle(bundle).record("float16")
    peaks = [Peak(**one) for one in record["peaks"]]  # type: ignore[arg-type, attr-defined]
    assert record["largest"] == LARGEST
    assert {peak.part for peak in peaks} == {"encoder", "decoder"}
    largest = max(peaks, key=lambda peak: peak.largest)
    assert f"found {largest.largest:.3g} in {largest.place}; float16 holds 65504" in told


def test_an_export_that_would_overflow_in_the_decoder_writes_nothing(
    half_export: Callable[[Path, Callable[[str], None]], ExportResult], vit: Sam, tmp_path: Path
) -> None:
    plant(vit, f"{WAY}mlp.lin1.bias", 8e4)
    save_file(vit.state_dict(), tmp_path / "outlier.safetensors")
    with pytest.raises(ParityError, match=r"8e\+04 in decoder transformer\.layers\.1 mlp\.lin1"):
        half_export(tmp_path / "outlier.safetensors", lambda _: None)
    assert not (tmp_path / "b").exists()
