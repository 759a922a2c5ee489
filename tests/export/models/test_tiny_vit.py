import pytest
import torch
from medsam_edge.export.models.config import LITE_MEDSAM, MOBILE_SAM
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.models.tiny_vit import Attention, Block


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_lite_medsam_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = Sam(LITE_MEDSAM)
    assert parameters(model.image_encoder) == 5_726_740
    assert parameters(model) == 9_791_300


@pytest.mark.parametrize("config", [LITE_MEDSAM, MOBILE_SAM])
def test_both_give_an_embedding_of_64_by_64(config: object) -> None:
    with torch.device("meta"):
        model = Sam(config)  # type: ignore[arg-type]
        image = torch.zeros(1, 3, model.config.image_size, model.config.image_size)
        assert model.image_encoder(image).shape == (1, 256, 64, 64)
    assert model.config.grid == 64


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("patch_embed.seq.0.c.weight", (32, 3, 1, 1)),
        ("patch_embed.seq.2.bn.running_var", (64,)),
        ("layers.0.blocks.1.conv2.c.weight", (256, 1, 3, 3)),
        ("layers.0.downsample.conv1.c.weight", (128, 64, 1, 1)),
        ("layers.1.blocks.0.attn.attention_biases", (4, 49)),
        ("layers.2.blocks.5.attn.qkv.weight", (480, 160)),
        ("layers.2.blocks.5.local_conv.c.weight", (160, 1, 3, 3)),
        ("layers.3.blocks.1.mlp.fc1.bias", (1280,)),
        ("neck.3.weight", (256,)),
    ],
)
def test_the_authors_keys(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        state = Sam(LITE_MEDSAM).image_encoder.state_dict()
    assert tuple(state[name].shape) == shape


def test_a_bias_depends_on_the_distance_along_each_axis() -> None:
    layer = Attention(8, 1, 3)
    layer.attention_biases.data = torch.arange(9.0)[None]
    bias = layer.bias()[0].reshape(3, 3, 3, 3)
    for y, x, other_y, other_x in ((0, 0, 2, 1), (2, 1, 0, 0), (1, 2, 1, 0), (2, 2, 2, 2)):
        assert bias[y, x, other_y, other_x] == abs(y - other_y) * 3 + abs(x - other_x)


@torch.no_grad()
def test_padding_takes_part_as_the_norms_bias() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, 3).eval()
    x = torch.randn(1, 4, 4, 8)
    before = block._windowed(x)
    block.attn.norm.bias += 1
    padded = torch.nn.functional.pad(x, (0, 0, 0, 2, 0, 2))
    corner = block.attn(padded[:, 3:6, 3:6].reshape(1, 9, 8))[0, 0]
    torch.testing.assert_close(block._windowed(x)[0, 3, 3], corner)
    assert not torch.allclose(before, block._windowed(x))
