"""SAM's ViT encoder in the shape in which it is exported: the same function and parameters, cheaper.

Against image_encoder.py, which stays the reference: windowed blocks project real tokens only (padding follows the norm
in SAM, so a padded token's query, key and value are the projection's bias and need no product), windows and heads are
cut by one transposition, and the attention itself is one operator, `medsam_edge::attend`, that attention_forms.py
writes out in the form that a target runs best. Letters as in image_encoder.py; n windows, T = W² tokens of one.
"""

import torch
from torch import Tensor, nn

from .common import softmax_attention
from .image_encoder import Attention, Block, ImageEncoder, relative_table
from .windows import join_heads, split_heads


class Attend(nn.Module):
    """softmax(query keyᵀ + rows + columns) value; under the exporter, one node that stands for it."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Attend.

        Args:
            query, key, value: `(n, H, T, D)`; the query is scaled already.
            rows, columns: `(n, H, T, W)`; what a query adds to the scores of all keys in a row, and in a column.
        """
        inputs = (query, key, value, rows, columns)
        if torch.compiler.is_exporting():
            return torch.onnx.ops.symbolic(
                "medsam_edge::attend", inputs, dtype=value.dtype, shape=value.shape, version=1
            )
        heads = zip(*(one.unsqueeze(2).unbind(1) for one in inputs), strict=True)
        return torch.cat([self._head(*head) for head in heads], dim=1)

    def _head(self, query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        bias = (rows[..., :, None] + columns[..., None, :]).flatten(-2)
        return softmax_attention(query @ key.transpose(-2, -1) + bias, value)


class FormedAttention(nn.Module):
    """`Attention` with its windows: tokens `(1, G², C)` to the same shape; `window` 0 attends globally."""

    row_table: Tensor
    column_table: Tensor

    def __init__(self, plain: Attention, window: int, grid: int) -> None:
        super().__init__()
        self.heads, self.side, self.window, self.grid = plain.heads, plain.side, window, grid
        self.qkv, self.proj, self.attend = plain.qkv, plain.proj, Attend()
        self.register_buffer("row_table", relative_table(plain.rel_pos_h, plain.side).transpose(1, 2).detach())
        self.register_buffer("column_table", relative_table(plain.rel_pos_w, plain.side).transpose(1, 2).detach())

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each window, or over the whole grid."""
        qkv = self.qkv(x).reshape(1, self.grid, self.grid, -1)
        query, key, value = split_heads(qkv, self.heads, self.window, self.qkv.bias)
        rows, columns = self._bias(query)
        scaled = query * query.shape[-1] ** -0.5
        mixed = self.attend(scaled, key, value, rows, columns)
        out: Tensor = self.proj(join_heads(mixed, self.grid, self.window).reshape(x.shape))
        return out

    def _bias(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply the query with the tables of the row and column distances: twice `(n, H, T, W)`."""
        count, heads, tokens, channels = query.shape
        grid = query.reshape(count, heads, self.side, self.side, channels)
        rows = grid @ self.row_table
        columns = (grid.transpose(2, 3) @ self.column_table).transpose(2, 3)
        return rows.reshape(count, heads, tokens, -1), columns.reshape(count, heads, tokens, -1)


class FormedBlock(nn.Module):
    """`Block` around a `FormedAttention`."""

    def __init__(self, plain: Block, grid: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = plain.norm1, plain.norm2, plain.mlp
        self.attn = FormedAttention(plain.attn, plain.window, grid)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(1, G², C)` to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class FormedEncoder(nn.Module):
    """`ImageEncoder`'s function, sharing its parameters; for export only, one image at a time.

    Tokens stand in a row from the first norm to the neck: OpenVINO takes four axes for channels first, and turned them
    round before each norm.
    """

    def __init__(self, plain: ImageEncoder) -> None:
        super().__init__()
        self.grid = plain.pos_embed.shape[1]
        self.patch_embed, self.neck = plain.patch_embed.proj, plain.neck
        self.register_buffer("places", plain.pos_embed.detach().flatten(1, 2))
        self.blocks = nn.ModuleList(_formed_block(block, self.grid) for block in plain.blocks)

    def forward(self, image: Tensor) -> Tensor:
        """Encode a normalised image `(1, 3, S, S)`."""
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.transpose(1, 2).reshape(1, -1, self.grid, self.grid))
        return out


def _formed_block(block: nn.Module, grid: int) -> FormedBlock:
    assert isinstance(block, Block)
    return FormedBlock(block, grid)
