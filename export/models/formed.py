"""SAM's ViT encoder in the shape in which it is exported: the same function and parameters, cheaper.

Against image_encoder.py, which stays the reference: windowed blocks project real tokens only (padding follows the norm
in SAM, so a padded token's query, key and value are the projection's bias and need no product), windows and heads are
cut by one transposition, and the attention itself is one operator, `medsam_edge::attend`, that attention_forms.py
writes out in the form that a target runs best. Letters as in image_encoder.py; n windows, T = W² tokens of one.
"""

import copy

import torch
from torch import Tensor, nn

from .image_encoder import Attention, Block, ImageEncoder, relative_table
from .windows import join_heads, split_heads


def attend(query: Tensor, key: Tensor, value: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return softmax(query keyᵀ + rows + columns) value; under the exporter, one node that stands for it.

    Args:
        query, key, value: `(n, H, T, D)`; the query is scaled already.
        rows, columns: `(n, H, T, W)`; what a query adds to the scores of all keys in a row, and in a column.
    """
    if torch.compiler.is_exporting():
        inputs = (query, key, value, rows, columns)
        return torch.onnx.ops.symbolic("medsam_edge::attend", inputs, dtype=value.dtype, shape=value.shape, version=1)
    bias = rows[..., :, None] + columns[..., None, :]
    return torch.softmax(query @ key.transpose(-2, -1) + bias.flatten(-2), dim=-1) @ value


class FormedAttention(nn.Module):
    """`Attention` with its windows: `(1, G, G, C)` to the same shape; `window` 0 attends globally."""

    row_table: Tensor
    column_table: Tensor

    def __init__(self, plain: Attention, window: int) -> None:
        super().__init__()
        self.heads, self.side, self.window = plain.heads, plain.side, window
        self.qkv, self.proj = plain.qkv, plain.proj
        self.register_buffer("row_table", relative_table(plain.rel_pos_h, plain.side).transpose(1, 2).contiguous())
        self.register_buffer("column_table", relative_table(plain.rel_pos_w, plain.side).transpose(1, 2).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each window, or over the whole grid."""
        query, key, value = split_heads(self.qkv(x), self.heads, self.window, self.qkv.bias)
        rows, columns = self._bias(query)
        scaled = query * query.shape[-1] ** -0.5
        mixed = attend(scaled, key, value, rows, columns)
        out: Tensor = self.proj(join_heads(mixed, x.shape[1], self.window))
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

    def __init__(self, plain: Block) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = plain.norm1, plain.norm2, plain.mlp
        self.attn = FormedAttention(plain.attn, plain.window)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(1, G, G, C)` to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def formed(encoder: ImageEncoder) -> ImageEncoder:
    """Return an encoder of the same function that shares the parameters; for export only, one image at a time."""
    made = copy.copy(encoder)
    made._modules = dict(encoder._modules)
    made.blocks = nn.ModuleList(FormedBlock(block) for block in encoder.blocks if isinstance(block, Block))
    return made
