"""Cuts a projected grid into windows and heads with one transposition, and puts the result back with another.

For the exported encoders: padding a window costs no product, because what a padded token projects to is known. Letters
as in image_encoder.py; n windows, T = W² tokens of one. `window` 0 means that the whole grid attends.
"""

from torch import Tensor, cat


def split_heads(qkv: Tensor, heads: int, window: int, padding: Tensor) -> tuple[Tensor, ...]:
    """Cut `(1, G, G, 3C)` into query, key and value, each `(n, H, T, D)`.

    Args:
        qkv: Query, key and value of every token, one behind the other; each holds its heads one behind the other.
        heads: H.
        window: W, or 0.
        padding: `(3C,)`: query, key and value of a token of the padding.
    """
    grid = qkv.shape[1]
    if not window:
        return qkv.reshape(1, grid * grid, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    count, pad = -(-grid // window), -grid % window
    if pad:
        qkv = cat([qkv, padding.expand(1, grid, pad, -1)], dim=2)
        qkv = cat([qkv, padding.expand(1, pad, grid + pad, -1)], dim=1)
    cut = qkv.reshape(count, window, count, window, 3, heads, -1).permute(4, 0, 2, 5, 1, 3, 6)
    return cut.reshape(3, count * count, heads, window * window, -1).unbind(0)


def join_heads(mixed: Tensor, grid: int, window: int) -> Tensor:
    """Put `(n, H, T, D)` back as `(1, G, G, C)`, without the padding."""
    if not window:
        return mixed.transpose(1, 2).reshape(1, grid, grid, -1)
    count, heads = -(-grid // window), mixed.shape[1]
    whole = mixed.reshape(count, count, heads, window, window, -1).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(1, count * window, count * window, -1)[:, :grid, :grid]
