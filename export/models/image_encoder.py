"""SAM's image encoder: a plain ViT with windowed and global attention and decomposed relative positions.

Source: Kirillov et al. 2023 (arXiv 2304.02643), Li et al. 2022 (ViTDet, arXiv 2203.16527); layout of
segment_anything/modeling/image_encoder.py. It knows nothing of preprocessing: its input is normalised already.
Letters: B batch, G side of the token grid, C embedding width, H heads, D channels per head, W side of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .common import LayerNorm2d, MLPBlock, softmax_attention
from .config import SamConfig


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each to a token."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """Map `(B, 3, S, S)` to `(B, G, G, C)`."""
        tokens: Tensor = self.proj(image)
        return tokens.permute(0, 2, 3, 1)


def relative_table(table: Tensor, side: int) -> Tensor:
    """Spread a table of `2 * side - 1` relative offsets to `(side queries, side keys, D)`."""
    steps = torch.arange(side, device=table.device)
    return table[steps[:, None] - steps[None, :] + side - 1]


class Attention(nn.Module):
    """Multi-head attention over a square grid, with a bias that is linear in the query (MViTv2's decomposition)."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        # None: all, as the authors' code. Scores of 4096 tokens take 67 MB a head, several times over.
        self.heads_at_once: int | None = None
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, side, side, C)` to the same shape."""
        batch, side, _, width = x.shape
        qkv = self.qkv(x).reshape(batch, side * side, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        step = self.heads_at_once or self.heads
        some = [slice(first, first + step) for first in range(0, self.heads, step)]
        heads = torch.cat([self._mixed(query[:, one], key[:, one], value[:, one]) for one in some], dim=1)
        out: Tensor = self.proj(heads.transpose(1, 2).reshape(batch, side, side, width))
        return out

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + self._bias(query)
        return softmax_attention(scores, value)

    def _bias(self, query: Tensor) -> Tensor:
        """Return `(B, H, side², side²)`: the query against the row table plus the query against the column table."""
        batch, heads, tokens, channels = query.shape
        side = self.side
        grid = query.reshape(batch, heads, side, side, channels)
        rows = grid @ relative_table(self.rel_pos_h, side).transpose(1, 2)
        columns = grid.transpose(2, 3) @ relative_table(self.rel_pos_w, side).transpose(1, 2)
        bias = rows[..., :, None] + columns.transpose(2, 3)[..., None, :]
        return bias.reshape(batch, heads, tokens, tokens)


class Block(nn.Module):
    """A transformer block; `window` 0 attends globally."""

    def __init__(self, config: SamConfig, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = Attention(config.embed_dim, config.num_heads, window or config.grid)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = MLPBlock(config.embed_dim, config.mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, G, G, C)` to the same shape."""
        y = self.norm1(x)
        x = x + (self._windowed(y) if self.window else self.attn(y))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _windowed(self, x: Tensor) -> Tensor:
        """Attend within windows. Padding follows the norm, so padded keys are `bias` and do take part (as in SAM)."""
        batch, grid, _, width = x.shape
        pad = -grid % self.window
        x = F.pad(x, (0, 0, 0, pad, 0, pad)) if pad else x
        count = (grid + pad) // self.window
        windows = x.reshape(batch, count, self.window, count, self.window, width).transpose(2, 3)
        mixed: Tensor = self.attn(windows.reshape(-1, self.window, self.window, width))
        mixed = mixed.reshape(batch, count, count, self.window, self.window, width).transpose(2, 3)
        return mixed.reshape(batch, grid + pad, grid + pad, width)[:, :grid, :grid]


class ImageEncoder(nn.Module):
    """ViT trunk and neck: `(B, 3, S, S)` float32 to `(B, 256, E, E)` float32."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid, config.grid, config.embed_dim))
        self.blocks = nn.ModuleList(
            Block(config, 0 if index in config.global_blocks else config.window_size) for index in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(config.embed_dim, config.prompt_dim, 1, bias=False),
            LayerNorm2d(config.prompt_dim),
            nn.Conv2d(config.prompt_dim, config.prompt_dim, 3, padding=1, bias=False),
            LayerNorm2d(config.prompt_dim),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode a normalised image `(B, 3, S, S)`."""
        x = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out
