"""The decoder's attention between 7 prompt tokens and 4096 image tokens, without projecting the image tokens.

The same function as `TokenAttention`, cheaper. A score is (Wq t) · (Wk x + bk) = (Wkᵀ Wq t) · x + a term that is equal
for all x and vanishes in the softmax: so the key projection moves to the side of the few tokens. A weighted sum of
Wv x + bv is Wv (weighted sum of x) + bv, because weights sum to one. Where the image asks and the tokens answer, query
and output projections move in the same way. Letters as in mask_decoder; D channels a head.

At C = 256, D = 16, 8 heads, P = 4096: 117 million multiplications an attention instead of 276 million.
"""

import copy

import torch
from torch import Tensor, nn

from .mask_decoder import MaskDecoder, TokenAttention


class FewToMany(nn.Module):
    """`TokenAttention` for few queries and many keys: prompt tokens look at the image."""

    def __init__(self, plain: TokenAttention) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map `(N, T, C)` against `(N or 1, P, C)` to `(N, T, C)`."""
        plain = self.plain
        tokens = plain.split(plain.q_proj(query))
        looks = (tokens * tokens.shape[-1] ** -0.5) @ by_head(plain.k_proj.weight, plain.heads)
        mixed = torch.softmax(looks.flatten(1, 2) @ key.transpose(1, 2), dim=-1) @ value
        mixed = mixed.reshape(looks.shape)
        heads = mixed @ by_head(plain.v_proj.weight, plain.heads).transpose(1, 2)
        heads = heads + plain.v_proj.bias.reshape(plain.heads, 1, -1)
        out: Tensor = plain.out_proj(heads.transpose(1, 2).flatten(2))
        return out


class ManyToFew(nn.Module):
    """`TokenAttention` for many queries and few keys: the image looks at the prompt tokens."""

    def __init__(self, plain: TokenAttention) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map `(N or 1, P, C)` against `(N, T, C)` to `(N, P, C)`."""
        plain = self.plain
        keys, values = plain.split(plain.k_proj(key)), plain.split(plain.v_proj(value))
        count, heads, tokens, channels = keys.shape
        keys = keys * channels**-0.5
        looks = (keys @ by_head(plain.q_proj.weight, heads)).flatten(1, 2)
        constant = (keys * plain.q_proj.bias.reshape(heads, 1, channels)).sum(dim=-1).flatten(1)
        scores = query @ looks.transpose(1, 2) + constant[:, None]
        weights = torch.softmax(scores.reshape(count, -1, heads, tokens), dim=-1).flatten(2)
        answers = values @ plain.out_proj.weight.reshape(-1, heads, channels).permute(1, 2, 0)
        return weights @ answers.flatten(1, 2) + plain.out_proj.bias


def by_head(weight: Tensor, heads: int) -> Tensor:
    """View a projection's weight `(heads * D, C)` as `(heads, D, C)`."""
    return weight.reshape(heads, -1, weight.shape[1])


def absorbed(decoder: MaskDecoder) -> MaskDecoder:
    """Return a decoder of the same function and parameters with its image projections absorbed; for export only."""
    made = copy.deepcopy(decoder)
    for parent in (*made.transformer.layers, made.transformer):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, TokenAttention) and name.endswith("token_to_image"):
                setattr(parent, name, FewToMany(layer))
            elif isinstance(layer, TokenAttention) and name.endswith("image_to_token"):
                setattr(parent, name, ManyToFew(layer))
    return made
