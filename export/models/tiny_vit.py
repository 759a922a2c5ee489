"""TinyViT as SAM's image encoder: LiteMedSAM's and MobileSAM's, which differ in the patch embedding.

Source: Wu et al. 2022 (TinyViT, arXiv 2207.10666), Zhang et al. 2023 (MobileSAM, arXiv 2306.14289); layout of
LiteMedSAM's tiny_vit_sam.py. A convolutional stage, three stages of windowed attention; the last merging keeps its
size, so that the grid has 64 tokens a side. It knows nothing of preprocessing: its input is normalised already.
Letters: B batch, G side of a stage's grid, C width of a stage, H heads, D channels per head, W side of a window.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .common import LayerNorm2d, softmax_attention
from .config import TinyVitConfig


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch normalisation, which every backend folds into it."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outputs))


class PatchEmbed(nn.Module):
    """Two convolutions: 1 x 1 at full size in LiteMedSAM, 3 x 3 of stride 2 in MobileSAM."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        stride = 1 if kernel == 1 else 2
        self.seq = nn.Sequential(
            ConvNorm(3, width // 2, kernel, stride), nn.GELU(), ConvNorm(width // 2, width, kernel, stride)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map `(B, 3, S, S)` to `(B, C, G, G)`."""
        out: Tensor = self.seq(image)
        return out


class MBConv(nn.Module):
    """Widen fourfold, look at the neighbours, narrow again, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.conv1 = ConvNorm(width, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, G, G)` to the same shape."""
        inner = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + inner)


class PatchMerging(nn.Module):
    """Between two stages: change the width, and halve the grid or keep it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, G, G)` to `(B, C', G / stride, G / stride)`."""
        out: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return out


class Attention(nn.Module):
    """Attention within one window; the bias of a pair depends on the distance along each axis, not on its sign."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, W², C)` to the same shape."""
        batch, tokens, width = x.shape
        # Each head's query, key and value stand together in the projection, unlike in SAM's ViT.
        qkv = self.qkv(self.norm(x)).reshape(batch, tokens, self.heads, 3, -1)
        query, key, value = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + self.bias()
        out: Tensor = self.proj(softmax_attention(scores, value).transpose(1, 2).reshape(batch, tokens, width))
        return out

    def bias(self) -> Tensor:
        """Return `(H, W², W²)`: entry `|dy| * W + |dx|` of each head's table."""
        steps = torch.arange(self.window, device=self.attention_biases.device)
        apart = (steps[:, None] - steps[None, :]).abs()
        index = apart[:, None, :, None] * self.window + apart[None, :, None, :]
        return self.attention_biases[:, index.reshape(self.window**2, self.window**2)]


class Mlp(nn.Module):
    """Norm, widen fourfold, narrow."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., C)`."""
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class Block(nn.Module):
    """Windowed attention, a depthwise convolution over the whole grid, an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, G, G)` to the same shape."""
        tokens = x.permute(0, 2, 3, 1)
        tokens = tokens + self._windowed(tokens)
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)
        return out

    def _windowed(self, x: Tensor) -> Tensor:
        """Attend within windows. Padding comes before the norm, so padded tokens take part as the norm's bias."""
        batch, grid, _, width = x.shape
        pad, side = -grid % self.window, self.window
        x = F.pad(x, (0, 0, 0, pad, 0, pad)) if pad else x
        count = (grid + pad) // side
        windows = x.reshape(batch, count, side, count, side, width).transpose(2, 3)
        mixed: Tensor = self.attn(windows.reshape(-1, side * side, width))
        mixed = mixed.reshape(batch, count, count, side, side, width).transpose(2, 3)
        return mixed.reshape(batch, grid + pad, grid + pad, width)[:, :grid, :grid]


class Stage(nn.Module):
    """Blocks of one width, and the way to the next stage; the last has none."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, G, G)` to the next stage's input."""
        for block in self.blocks:
            x = block(x)
        return self.downsample(x) if hasattr(self, "downsample") else x


class TinyVit(nn.Module):
    """Trunk and neck: `(B, 3, S, S)` float32 to `(B, 256, 64, 64)` float32."""

    def __init__(self, config: TinyVitConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.widths[0], config.patch_kernel)
        self.layers = nn.ModuleList(_stages(config))
        self.neck = nn.Sequential(
            nn.Conv2d(config.widths[-1], config.prompt_dim, 1, bias=False),
            LayerNorm2d(config.prompt_dim),
            nn.Conv2d(config.prompt_dim, config.prompt_dim, 3, padding=1, bias=False),
            LayerNorm2d(config.prompt_dim),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode a normalised image `(B, 3, S, S)`."""
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        out: Tensor = self.neck(x)
        return out


def _stages(config: TinyVitConfig) -> list[Stage]:
    last = len(config.widths) - 2
    merges: list[nn.Module | None] = [
        PatchMerging(inputs, outputs, 1 if index == last else 2)
        for index, (inputs, outputs) in enumerate(pairwise(config.widths))
    ]
    stages = []
    for index, merge in enumerate([*merges, None]):
        width, depth, heads, window = (
            column[index] for column in (config.widths, config.depths, config.heads, config.windows)
        )
        blocks = [MBConv(width) if index == 0 else Block(width, heads, window) for _ in range(depth)]
        stages.append(Stage(blocks, merge))
    return stages
