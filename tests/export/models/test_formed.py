"""What is exported computes what the reference modules compute: in float64, to rounding."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from medsam_edge.export.models.config import LITE_MEDSAM, SamConfig, TinyVitConfig
from medsam_edge.export.models.formed import FormedEncoder
from medsam_edge.export.models.formed_tiny_vit import formed_tiny_vit
from medsam_edge.export.models.half import Float32Norm, Half
from medsam_edge.export.models.image_encoder import ImageEncoder
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.models.tiny_vit import ConvNorm, TinyVit
from torch import Tensor, nn

# Padding in every attention stage: grids of 16, 8 and 8 tokens in windows of 7, 14 and 7.
TINY_VIT = replace(LITE_MEDSAM, image_size=32, widths=(8, 16, 20, 320), depths=(1, 1, 2, 1), heads=(1, 2, 2, 10))


def scattered(config: SamConfig | TinyVitConfig) -> Sam:
    model = Sam(config).double().eval().requires_grad_(False)
    torch.manual_seed(5)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2)
        elif name.endswith("running_mean"):
            nn.init.normal_(buffer)
    return model


def image(side: int) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("window", [3, 4], ids=["padded windows", "whole windows"])
def test_a_formed_vit_is_the_plain_one(tiny_config: SamConfig, window: int) -> None:
    plain = scattered(replace(tiny_config, depth=3, window_size=window)).image_encoder
    assert isinstance(plain, ImageEncoder)
    torch.testing.assert_close(FormedEncoder(plain)(image(64)), plain(image(64)), rtol=0, atol=1e-12)


def test_a_formed_tiny_vit_is_the_plain_one_without_batch_norms() -> None:
    plain = scattered(TINY_VIT).image_encoder
    assert isinstance(plain, TinyVit)
    formed = formed_tiny_vit(plain)
    torch.testing.assert_close(formed(image(32)), plain(image(32)), rtol=0, atol=1e-12)
    assert not any(isinstance(module, ConvNorm | nn.BatchNorm2d) for module in formed.modules())
    assert any(isinstance(module, ConvNorm) for module in plain.modules())


@pytest.fixture
def half(model_with: Callable[[SamConfig], Sam], tiny_config: SamConfig) -> Half:
    encoder = model_with(tiny_config).image_encoder
    assert isinstance(encoder, ImageEncoder)
    return Half(FormedEncoder(encoder))


def test_only_norms_stay_in_float32(half: Half, sam: Sam) -> None:
    named = {name: one for name, one in half.module.named_parameters() if "norm" in name}
    for name, one in sam.image_encoder.named_parameters():  # to the bit: not rounded on the way
        if name.startswith("blocks") and "norm" in name:
            assert torch.equal(one, named[re.sub(r"(norm\d)", r"\1.norm", name)])
    norms = {id(one) for norm in half.modules() if isinstance(norm, Float32Norm) for one in norm.parameters()}
    for parameter in (*half.parameters(), *half.buffers()):
        assert parameter.dtype == (torch.float32 if id(parameter) in norms else torch.float16)
    assert norms


@torch.no_grad()
def test_a_residual_that_a_float16_norm_could_not_square_stays_finite(half: Half, sam: Sam) -> None:
    """The variance of a channel of 10,000 is beyond float16; the norm's own float32 holds it."""
    encoder = half.module
    assert isinstance(encoder, FormedEncoder)
    encoder.places[..., 5] = 10_000
    embedding = half(image(64).float())
    assert isinstance(embedding, Tensor)
    assert embedding.dtype == torch.float32
    assert torch.isfinite(embedding).all()
