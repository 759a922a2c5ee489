"""TinyViT in the shape in which it is exported: the same function, cheaper.

Against tiny_vit.py, which stays the reference: batch norms are folded into their convolutions, windowed attention
projects real tokens only (padding precedes the norm here, so a padded token is the projection of the norm's bias), and
windows and heads are cut by one transposition. Letters as in tiny_vit.py.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .common import softmax_attention
from .tiny_vit import Attention, Block, ConvNorm, TinyVit
from .windows import join_heads, split_heads


class FormedAttention(nn.Module):
    """`Attention` with its windows: tokens `(1, G², C)` to the same shape."""

    bias: Tensor
    padding: Tensor

    def __init__(self, plain: Attention) -> None:
        super().__init__()
        self.heads, self.window = plain.heads, plain.window
        self.norm, self.proj = plain.norm, plain.proj
        self.qkv = _regrouped(plain.qkv, plain.heads)
        self.register_buffer("bias", plain.bias().contiguous())
        self.register_buffer("padding", self.qkv(plain.norm.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each window."""
        grid = math.isqrt(x.shape[1])
        qkv = self.qkv(self.norm(x)).reshape(1, grid, grid, -1)
        query, key, value = split_heads(qkv, self.heads, self.window, self.padding)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + self.bias
        out: Tensor = self.proj(join_heads(softmax_attention(scores, value), grid, self.window).reshape(x.shape))
        return out


class FormedBlock(nn.Module):
    """`Block` around a `FormedAttention`."""

    def __init__(self, plain: Block) -> None:
        super().__init__()
        self.attn, self.local_conv, self.mlp = FormedAttention(plain.attn), plain.local_conv, plain.mlp

    def forward(self, x: Tensor) -> Tensor:
        """Map `(1, C, G, G)` to the same shape."""
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(tokens)
        tokens = self.local_conv(tokens.transpose(1, 2).reshape(x.shape)).flatten(2).transpose(1, 2)
        out: Tensor = (tokens + self.mlp(tokens)).transpose(1, 2)
        return out.reshape(x.shape)


def _regrouped(plain: nn.Linear, heads: int) -> nn.Linear:
    """Reorder a projection whose heads hold query, key and value each to one of all queries, all keys, all values."""
    made = nn.Linear(plain.in_features, plain.out_features)
    weight, bias = (value.reshape(heads, 3, -1, *value.shape[1:]) for value in (plain.weight, plain.bias))
    made.weight = nn.Parameter(weight.transpose(0, 1).reshape(plain.weight.shape), False)
    made.bias = nn.Parameter(bias.transpose(0, 1).reshape(plain.bias.shape), False)
    return made


@torch.no_grad()
def formed_tiny_vit(encoder: TinyVit) -> TinyVit:
    """Return an encoder of the same function; for export only, one image at a time, after training."""
    made = copy.deepcopy(encoder).eval()
    _form(made)
    return made


def _form(parent: nn.Module) -> None:
    for name, child in list(parent.named_children()):
        _form(child)
        if isinstance(child, ConvNorm):
            setattr(parent, name, _folded(child))
        elif isinstance(child, Block):
            setattr(parent, name, FormedBlock(child))


def _folded(layer: ConvNorm) -> nn.Module:
    convolution, norm = layer.children()
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)
