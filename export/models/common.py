"""Layers that the image encoder, the prompt encoder and the mask decoder share.

They know nothing of images or prompts. Names and state-dict keys are those of segment_anything, so that its
checkpoints load without a key map.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of `(B, C, H, W)`.

    Written as permute, LayerNorm, permute: the exported graph then holds one LayerNormalization node, which every
    backend accumulates in float32, instead of a chain of reductions that overflows in float16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, H, W)` over C."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them: GELU in the encoder, ReLU in the decoder."""

    def __init__(self, width: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., width)` to `(..., width)`."""
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


class MLP(nn.Module):
    """A chain of linear layers with ReLU between them, as the heads of the mask decoder use it."""

    def __init__(self, width: int, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        widths = [width] + [hidden] * (depth - 1) + [out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., width)` to `(..., out)`."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        out: Tensor = last(x)
        return out


def softmax_attention(scores: Tensor, value: Tensor) -> Tensor:
    """Return `softmax(scores) @ value` for `(..., queries, keys)` and `(..., keys, channels)`."""
    return torch.softmax(scores, dim=-1) @ value
