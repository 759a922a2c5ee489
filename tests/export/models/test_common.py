import torch
from medsam_edge.export.models.common import MLP, LayerNorm2d


@torch.no_grad()
def test_layer_norm_2d_normalises_over_channels_alone() -> None:
    torch.manual_seed(0)
    layer, x = LayerNorm2d(4), torch.randn(2, 4, 3, 5) * 7 + 2
    layer.weight.copy_(torch.randn(4))
    layer.bias.copy_(torch.randn(4))
    centred = x - x.mean(1, keepdim=True)
    scaled = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-6)
    expected = scaled * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_an_mlp_has_no_activation_behind_its_last_layer() -> None:
    torch.manual_seed(0)
    assert MLP(4, 8, 16, 3)(torch.randn(32, 4)).min() < 0
