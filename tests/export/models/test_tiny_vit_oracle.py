"""TinyViT against an implementation written from the paper, apart from ours and without a look at it.

The oracle (tiny_vit_oracle.py) was itself held against timm's TinyViT blocks, where the two networks agree.
"""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from medsam_edge.export.models.config import LITE_MEDSAM, MOBILE_SAM, TinyVitConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.models.tiny_vit import TinyVit
from torch import Tensor, nn

_SPEC = spec_from_file_location("tiny_vit_oracle", Path(__file__).with_name("tiny_vit_oracle.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
oracle = module_from_spec(_SPEC)
_SPEC.loader.exec_module(oracle)

# Padding in every attention stage: grids of 16, 8 and 8 tokens in windows of 7, 14 and 7.
SMALL = replace(LITE_MEDSAM, image_size=32, widths=(8, 16, 20, 320), depths=(1, 1, 2, 1), heads=(1, 2, 2, 10))
SMALL_MOBILE = replace(SMALL, image_size=128, patch_kernel=3)


def scattered(config: TinyVitConfig) -> TinyVit:
    """Draw every weight, bias and batch-norm statistic at random: what stays 0 or 1 tests nothing."""
    encoder = Sam(config).image_encoder
    assert isinstance(encoder, TinyVit)
    torch.manual_seed(3)
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.uniform_(parameter, 0.5, 1.5)
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2)
    return encoder.eval()


def answers(config: TinyVitConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    encoder = scattered(config).to(dtype)
    image = torch.rand(1, 3, config.image_size, config.image_size, dtype=dtype)
    sizes = {name: getattr(config, name) for name in ("widths", "depths", "heads", "windows")}
    with torch.no_grad():
        return encoder(image), oracle.tiny_vit(encoder.state_dict(), image, **sizes)


@pytest.mark.parametrize("config", [SMALL, SMALL_MOBILE])
def test_small_models_agree_in_double_precision(config: TinyVitConfig) -> None:
    ours, theirs = answers(config, torch.float64)
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("config", [LITE_MEDSAM, MOBILE_SAM])
def test_full_size_models_agree(config: TinyVitConfig) -> None:
    ours, theirs = answers(config, torch.float32)
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-4
