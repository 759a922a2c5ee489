"""Transformers' `SamModel` with a model's weights under its own names: the oracle of the network and of the key map."""

import re
from collections.abc import Iterator, Mapping

import pytest
import torch
from medsam_edge.export.models.config import SamConfig
from medsam_edge.export.models.sam import Sam
from torch import nn

# In this order. Source: Transformers' own converter of the authors' checkpoints, convert_sam_to_hf.py.
RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.blocks\.", ".layers."),
    (r"\.norm", ".layer_norm"),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"neck\.0\.", "neck.conv1."),
    (r"neck\.1\.", "neck.layer_norm1."),
    (r"neck\.2\.", "neck.conv2."),
    (r"neck\.3\.", "neck.layer_norm2."),
    (r"point_embeddings", "point_embed"),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
)


def renamed(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in tensors.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        yield name, tensor
        if name.endswith("shared_embedding.positional_embedding"):
            yield "shared_image_embedding.positional_embedding", tensor


def oracle_of(model: Sam) -> nn.Module:
    transformers, ours = pytest.importorskip("transformers"), model.config
    assert isinstance(ours, SamConfig)
    vision = transformers.SamVisionConfig(
        hidden_size=ours.embed_dim,
        output_channels=ours.prompt_dim,
        num_hidden_layers=ours.depth,
        num_attention_heads=ours.num_heads,
        image_size=ours.image_size,
        patch_size=ours.patch_size,
        window_size=ours.window_size,
        global_attn_indexes=list(ours.global_blocks),
        num_pos_feats=ours.prompt_dim // 2,
        mlp_dim=ours.mlp_dim,
    )
    prompt = transformers.SamPromptEncoderConfig(
        hidden_size=ours.prompt_dim, image_size=ours.image_size, patch_size=ours.patch_size
    )
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=ours.prompt_dim,
        mlp_dim=ours.decoder_mlp_dim,
        num_attention_heads=ours.decoder_heads,
        # Transformers' default of 1e-6 is not the authors': their decoder's norms keep torch's 1e-5.
        layer_norm_eps=1e-5,
    )
    config = transformers.SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=decoder.to_dict()
    )
    oracle: nn.Module = transformers.SamModel(config).eval()
    oracle.load_state_dict(dict(renamed(model.state_dict())), strict=True)
    return oracle
