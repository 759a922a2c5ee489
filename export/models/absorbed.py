"""The mask decoder as it is exported: image tokens are never projected, and become mask pixels without convolutions.

The same function as mask_decoder.py's, cheaper. A score is (Wq t) · (Wk x + bk) = (Wkᵀ Wq t) · x + a term that is equal
for all x and vanishes in the softmax: so the key projection moves to the side of the few tokens. A weighted sum of
Wv x + bv is Wv (weighted sum of x) + bv, because weights sum to one. Where the image asks and the tokens answer, query
and output projections move in the same way. Letters as in mask_decoder; D channels a head.

At C = 256, D = 16, 8 heads, P = 4096: 117 million multiplications an attention instead of 276 million.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .common import MLP, LayerNorm2d
from .mask_decoder import MaskDecoder, TokenAttention, TwoWayTransformer


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


class Upscaling(nn.Module):
    """`output_upscaling` and the brush on tokens instead of maps: each pixel of the mask is a product of its own.

    A transposed convolution of kernel 2 and stride 2 lets no two tokens meet: it is one matrix product that gives each
    token four children. So channels stay last from the transformer to the mask, the norm needs no permutation, and only
    the finished mask, one channel, is put in the order of its pixels.
    """

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        first, norm, _, second, _ = plain
        assert isinstance(first, nn.ConvTranspose2d)
        assert isinstance(second, nn.ConvTranspose2d)
        self.first, self.second = Children(first), Children(second)
        assert isinstance(norm, LayerNorm2d)
        self.norm = nn.LayerNorm(norm.normalized_shape, norm.eps)
        self.norm.weight, self.norm.bias = norm.weight, norm.bias

    def forward(self, seen: Tensor, brush: Tensor) -> Tensor:
        """Map image tokens `(N, P, C)` and brushes `(N, C / 8)` to logits `(N, 1, 4E, 4E)`."""
        side = math.isqrt(seen.shape[1])
        fine = F.gelu(self.second(F.gelu(self.norm(self.first(seen)))))
        logits = fine.flatten(1, 3) @ brush.unsqueeze(2)
        # Rows and columns of the token, of its child, of its child's child.
        pixels = logits.reshape(-1, side, side, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return pixels.reshape(-1, 1, 4 * side, 4 * side)


class Children(nn.Module):
    """A transposed convolution of kernel 2 and stride 2 on tokens: `(..., A)` to `(..., 4, B)`, row by row."""

    weight: Tensor
    bias: Tensor

    def __init__(self, plain: nn.ConvTranspose2d) -> None:
        super().__init__()
        assert plain.bias is not None
        self.register_buffer("weight", plain.weight.detach().permute(0, 2, 3, 1).flatten(1))
        self.register_buffer("bias", plain.bias.detach().repeat(4))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token's four children."""
        out = tokens @ self.weight + self.bias
        return out.reshape(*tokens.shape[:-1], 4, -1)


class AbsorbedDecoder(nn.Module):
    """`MaskDecoder`'s function with all of the above; for export only."""

    own: Tensor

    def __init__(self, plain: MaskDecoder) -> None:
        super().__init__()
        hypernetwork = plain.output_hypernetworks_mlps[0]
        assert isinstance(hypernetwork, MLP)
        self.transformer = absorbed(plain.transformer)
        self.upscaling = Upscaling(plain.output_upscaling)
        self.iou_prediction_head = plain.iou_prediction_head
        self.hypernetwork = hypernetwork
        self.register_buffer("own", torch.cat([plain.iou_token.weight, plain.mask_tokens.weight]).detach())

    def forward(self, image: Tensor, image_pe: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """As `MaskDecoder.forward`."""
        tokens = torch.cat([self.own.expand(prompts.shape[0], -1, -1), prompts], dim=1)
        tokens, seen = self.transformer(image.flatten(2).transpose(1, 2), image_pe, tokens)
        logits = self.upscaling(seen, self.hypernetwork(tokens[:, 1]))
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])[:, :1]
        return logits, iou


def absorbed(transformer: TwoWayTransformer) -> TwoWayTransformer:
    """Return a transformer of the same function and parameters with its image projections absorbed."""
    made = copy.deepcopy(transformer)
    for parent in (*made.layers, made):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, TokenAttention) and name.endswith("token_to_image"):
                setattr(parent, name, FewToMany(layer))
            elif isinstance(layer, TokenAttention) and name.endswith("image_to_token"):
                setattr(parent, name, ManyToFew(layer))
    return made
