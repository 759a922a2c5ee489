"""The network against an independent implementation of the same paper, and its sizes against the published model's.

The oracle is Transformers' `SamModel`, with the same random weights under its own names.
"""

from collections.abc import Callable

import pytest
import torch
from medsam_edge.export.architecture import model_of
from medsam_edge.export.models.config import DEMO, MEDSAM_VIT_B, SamConfig
from medsam_edge.export.models.normalisation import min_max
from medsam_edge.export.models.sam import DecoderGraph, EncoderGraph, Sam
from medsam_edge.export.random_weights import random_checkpoint
from torch import nn

LIMIT = 1e-4  # of the largest value


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module", params=[3, 4], ids=["padded windows", "whole windows"])
def model(request: pytest.FixtureRequest, model_with: Callable[[SamConfig], Sam], tiny_config: SamConfig) -> Sam:
    sizes = {**vars(tiny_config), "depth": 3, "window_size": request.param}
    return model_with(SamConfig(**sizes))


@pytest.fixture(scope="module")
def oracle(model: Sam, oracle_of: Callable[[Sam], nn.Module]) -> nn.Module:
    return oracle_of(model)


@torch.no_grad()
def test_the_embedding_is_the_oracles(model: Sam, oracle: nn.Module, image: torch.Tensor) -> None:
    theirs = oracle.vision_encoder(min_max(image)).last_hidden_state
    assert relative_error(EncoderGraph(model)(image), theirs) < LIMIT


@torch.no_grad()
def test_masks_and_estimates_are_the_oracles(
    model: Sam, oracle: nn.Module, image: torch.Tensor, boxes: torch.Tensor
) -> None:
    embedding = model.encode(image)
    theirs = oracle(image_embeddings=embedding, input_boxes=boxes[None], multimask_output=False)
    logits, iou = DecoderGraph(model)(embedding, boxes)
    assert relative_error(logits, theirs.pred_masks[0]) < LIMIT
    assert relative_error(iou, theirs.iou_scores[0]) < LIMIT


@pytest.mark.slow
@torch.no_grad()
def test_medsam_vit_b_at_full_size_agrees_with_the_oracle(oracle_of: Callable[[Sam], nn.Module]) -> None:
    model = model_of(random_checkpoint("medsam-vit-b").tensors)
    oracle, image = oracle_of(model), torch.randint(0, 256, (1, 3, 1024, 1024)).to(torch.uint8)
    embedding = model.encode(image)
    assert relative_error(oracle.vision_encoder(min_max(image)).last_hidden_state, embedding) < LIMIT
    boxes = torch.tensor([[100.0, 200.0, 400.0, 700.0], [10.5, 20.25, 1000.0, 900.0]])
    theirs = oracle(image_embeddings=embedding, input_boxes=boxes[None], multimask_output=False)
    logits, iou = model.decode(embedding, boxes)
    assert relative_error(logits, theirs.pred_masks[0]) < LIMIT
    assert relative_error(iou, theirs.iou_scores[0]) < LIMIT


def test_the_random_weights_make_every_box_another_mask(sam: Sam, image: torch.Tensor, boxes: torch.Tensor) -> None:
    logits, _ = sam.decode(sam.encode(image), boxes)
    assert torch.pdist(logits.flatten(1)).min() > 1e-2 * logits.abs().max()


def test_min_max_scales_all_channels_of_an_image_jointly() -> None:
    image = torch.tensor([10, 20, 30, 60], dtype=torch.uint8).reshape(1, 1, 2, 2).repeat(1, 3, 1, 1)
    image[0, 2] = 110
    assert min_max(image)[0, :, 0, 1].tolist() == pytest.approx([0.1, 0.1, 1.0])


def test_min_max_scales_each_image_of_a_batch_by_itself() -> None:
    image = torch.tensor([[0, 100], [50, 60]], dtype=torch.uint8).reshape(2, 1, 1, 2).repeat(1, 3, 1, 1)
    assert min_max(image)[:, 0, 0].tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_min_max_of_a_constant_image_is_zero(grey: int) -> None:
    assert min_max(torch.full((1, 3, 4, 4), grey, dtype=torch.uint8)).abs().max() == 0


@pytest.fixture(scope="module")
def medsam_vit_b() -> Sam:
    with torch.device("meta"):
        return Sam(MEDSAM_VIT_B)


def test_medsam_has_the_published_number_of_parameters(medsam_vit_b: Sam) -> None:
    assert sum(parameter.numel() for parameter in medsam_vit_b.parameters()) == 93_735_472
    assert sum(parameter.numel() for parameter in medsam_vit_b.image_encoder.parameters()) == 89_670_912
    assert sum(parameter.numel() for parameter in medsam_vit_b.prompt_encoder.parameters()) == 6_220
    assert sum(parameter.numel() for parameter in medsam_vit_b.mask_decoder.parameters()) == 4_058_340


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("image_encoder.pos_embed", (1, 64, 64, 768)),
        ("image_encoder.patch_embed.proj.weight", (768, 3, 16, 16)),
        ("image_encoder.blocks.0.attn.rel_pos_h", (27, 64)),
        ("image_encoder.blocks.11.attn.rel_pos_w", (127, 64)),
        ("image_encoder.neck.2.weight", (256, 256, 3, 3)),
        ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", (2, 128)),
        ("prompt_encoder.mask_downscaling.6.weight", (256, 16, 1, 1)),
        ("mask_decoder.transformer.layers.1.cross_attn_image_to_token.q_proj.weight", (128, 256)),
        ("mask_decoder.transformer.layers.0.mlp.lin1.weight", (2048, 256)),
        ("mask_decoder.output_upscaling.3.weight", (64, 32, 2, 2)),
        ("mask_decoder.output_hypernetworks_mlps.3.layers.2.weight", (32, 256)),
        ("mask_decoder.iou_prediction_head.layers.2.bias", (4,)),
    ],
)
def test_medsam_has_the_authors_keys(medsam_vit_b: Sam, name: str, shape: tuple[int, ...]) -> None:
    assert medsam_vit_b.state_dict()[name].shape == shape


def test_the_demo_fits_a_package() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Sam(DEMO).parameters()) * 2 < 16e6
