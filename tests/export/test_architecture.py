from dataclasses import replace

import pytest
import torch
from medsam_edge.export.architecture import config_of, model_of
from medsam_edge.export.models.config import DEMO, LITE_MEDSAM, MEDSAM_VIT_B, SamConfig, TinyVitConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.runtime.errors import CheckpointError, ExitCode

Tensors = dict[str, torch.Tensor]
READ = (  # what the configuration is read from
    "image_encoder.pos_embed",
    "image_encoder.patch_embed.proj.weight",
    "image_encoder.blocks.0.attn.rel_pos_h",
    "image_encoder.blocks.0.mlp.lin1.bias",
    "prompt_encoder.no_mask_embed.weight",
    "mask_decoder.transformer.layers.0.mlp.lin1.bias",
)


def refusal(tensors: Tensors) -> str:
    with pytest.raises(CheckpointError) as caught:
        model_of(tensors)
    assert caught.value.exit_code == ExitCode.ARTEFACT
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("config", [MEDSAM_VIT_B, DEMO], ids=["MedSAM ViT-B", "demo"])
def test_published_sizes_are_read_off_the_shapes(config: SamConfig) -> None:
    with torch.device("meta"):
        assert config_of(Sam(config).state_dict()) == config


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 3, "global_blocks": (0, 2)},
        {"num_heads": 4},
        {"global_blocks": (0, 1), "window_size": 8},
        {"patch_size": 4},
    ],
    ids=str,
)
def test_other_sizes_are_read_off_the_shapes(tiny_config: SamConfig, change: dict[str, object]) -> None:
    config = replace(tiny_config, **change)  # type: ignore[arg-type]
    with torch.device("meta"):
        assert config_of(Sam(config).state_dict()) == config


@torch.no_grad()
def test_the_model_answers_as_the_one_whose_weights_it_got(
    sam: Sam, tensors: Tensors, image: torch.Tensor, boxes: torch.Tensor
) -> None:
    model = model_of(tensors)
    assert not model.training
    torch.testing.assert_close(model.decode(model.encode(image), boxes), sam.decode(sam.encode(image), boxes))


def test_an_unknown_architecture_is_refused_with_the_keys_that_were_seen() -> None:
    message = refusal({"encoder.conv1.weight": torch.zeros(3), "head.bias": torch.zeros(1)})
    assert "encoder.conv1.weight" in message
    assert "SAM1-type" in message


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("image_encoder.backbone.stages.0.op_list.0.main.conv.weight", "EfficientViT-SAM"),
        ("image_encoder.features.0.0.c.weight", "RepViT"),
        ("image_encoder.trunk.pos_embed_window", "SAM 2"),
        ("decoder5.conv1.0.weight", "SAM3D"),
    ],
)
def test_a_family_that_is_known_but_not_exported_is_named(key: str, name: str) -> None:
    assert name in refusal({key: torch.zeros(1)})


@pytest.mark.parametrize("name", [*READ, "image_encoder.neck.0.weight", "mask_decoder.iou_token.weight"])
def test_a_missing_key_is_named(tensors: Tensors, name: str) -> None:
    del tensors[name]
    assert name in refusal(tensors)


def test_a_key_too_many_is_named(tensors: Tensors) -> None:
    assert "1 left over (mask_decoder.adapter)" in refusal({**tensors, "mask_decoder.adapter": torch.zeros(1)})


def test_a_tensor_of_another_shape_is_named(tensors: Tensors) -> None:
    tensors["mask_decoder.iou_token.weight"] = torch.zeros(2, 64)
    assert "1 of another shape (mask_decoder.iou_token.weight)" in refusal(tensors)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 100), (1, 0, 0, 0), (1, 3, 3, 7), (1, 2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", READ)
def test_no_shape_of_a_tensor_breaks_the_detection(tensors: Tensors, name: str, shape: tuple[int, ...]) -> None:
    tensors[name] = torch.zeros(shape)
    refusal(tensors)


@pytest.mark.parametrize("name", ["image_encoder.blocks.x.norm1.weight", "image_encoder.blocks.7.norm1.weight"])
def test_blocks_without_order_are_refused(tensors: Tensors, name: str) -> None:
    refusal({**tensors, name: torch.zeros(1)})


def test_a_model_without_blocks_is_refused(tensors: Tensors) -> None:
    refusal({name: tensor for name, tensor in tensors.items() if ".blocks." not in name})


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_weights_that_are_not_floats_are_refused(tensors: Tensors, dtype: torch.dtype) -> None:
    message = refusal({name: tensor.to(dtype) for name, tensor in tensors.items()})
    assert str(dtype) in message
    assert "unquantised" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_training_that_diverged_are_refused(tensors: Tensors, value: float) -> None:
    tensors["image_encoder.neck.0.weight"][0, 0] = value
    assert "image_encoder.neck.0.weight" in refusal(tensors)


def lite_weights(config: TinyVitConfig = LITE_MEDSAM) -> Tensors:
    with torch.device("meta"):
        state = Sam(config).state_dict()
    return {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in state.items()}


SMALL = replace(
    LITE_MEDSAM,
    widths=(8, 16, 24, 32),
    depths=(1, 1, 2, 1),
    heads=(1, 2, 3, 4),
    windows=(7, 3, 5, 7),
    decoder_mlp_dim=32,
)


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, image_size=1024, patch_kernel=3)], ids=["lite", "mobile"])
def test_a_tiny_vit_is_read_off_its_shapes(config: TinyVitConfig) -> None:
    found = config_of(lite_weights(config))
    assert isinstance(found, TinyVitConfig)
    assert replace(found, heads=(1, *found.heads[1:])) == config


def test_a_classification_head_is_left_out_and_counters_are_no_weights() -> None:
    tensors = lite_weights(SMALL)
    tensors["image_encoder.norm_head.weight"] = tensors["image_encoder.head.bias"] = torch.zeros(1)
    assert any(name.endswith("num_batches_tracked") for name in tensors)
    model = model_of(tensors)
    assert not model.training


@pytest.mark.parametrize(
    "name", ["image_encoder.layers.1.blocks.0.attn.attention_biases", "image_encoder.neck.0.weight"]
)
def test_a_tiny_vit_without_a_tensor_is_refused(name: str) -> None:
    tensors = lite_weights(SMALL)
    del tensors[name]
    assert name in refusal(tensors)
