import pytest
import torch
from medsam_edge.export.models.formed import FormedEncoder
from medsam_edge.export.models.image_encoder import ImageEncoder
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.overflow import LARGEST, Peak, peaks, require_room
from medsam_edge.runtime.errors import ParityError


@pytest.fixture
def encoder(sam: Sam) -> FormedEncoder:
    assert isinstance(sam.image_encoder, ImageEncoder)
    return FormedEncoder(sam.image_encoder)


IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_every_block_is_watched_in_order(encoder: FormedEncoder) -> None:
    found = peaks(encoder, [IMAGE])
    assert [peak.block for peak in found] == ["patch_embed", "neck", "blocks.0", "blocks.1"]
    assert all(0 < peak.largest < LARGEST for peak in found)
    require_room(found)


@torch.no_grad()
@pytest.mark.parametrize("layer", ["mlp.lin1", "attn.qkv", "attn.proj"])
def test_the_report_names_the_block_and_the_layer(encoder: FormedEncoder, layer: str) -> None:
    victim = encoder.get_submodule(f"blocks.1.{layer}")
    before = victim.bias.clone()
    try:
        victim.bias[3] = 80_000  # type: ignore[operator, index]
        found = peaks(encoder, [IMAGE])
        with pytest.raises(ParityError, match=r"at most 65504.*found .* in blocks\.1"):
            require_room(found)
    finally:
        victim.bias.copy_(before)
    assert not found[2].overflows
    assert found[3].largest >= 80_000


@torch.no_grad()
def test_scores_are_watched_too(encoder: FormedEncoder) -> None:
    """Query and key fit into float16 here, their product does not."""
    victim = encoder.get_submodule("blocks.0.attn.qkv")
    before = victim.bias.clone()
    try:
        victim.bias[: 2 * 32] += 3000  # type: ignore[operator, index]
        first = peaks(encoder, [IMAGE])[2]
    finally:
        victim.bias.copy_(before)
    assert first.layer == "attn.attend.scores"
    assert first.overflows


def test_the_largest_of_several_images_counts(encoder: FormedEncoder) -> None:
    both, dim = peaks(encoder, [IMAGE * 0.01, IMAGE * 9, IMAGE]), peaks(encoder, [IMAGE * 0.01])
    assert both == peaks(encoder, [IMAGE * 9])
    assert both != dim


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 65505.0])
def test_what_float16_cannot_hold_overflows(value: float) -> None:
    assert Peak("blocks.0", "", value).overflows
    assert not Peak("blocks.0", "", 65504.0).overflows


def test_nothing_is_left_on_the_encoder(encoder: FormedEncoder) -> None:
    peaks(encoder, [IMAGE])
    assert not any(module._forward_hooks for module in encoder.modules())


def test_nan_is_not_forgotten(encoder: FormedEncoder) -> None:
    found = peaks(encoder, [IMAGE * float("nan"), IMAGE])
    assert all(peak.overflows for peak in found)
