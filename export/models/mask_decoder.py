"""SAM's mask decoder: prompt tokens and image tokens attend to each other, then one token draws the mask.

Source: segment_anything/modeling/{mask_decoder,transformer}.py. Only what MedSAM reads is computed: mask token 0
(`multimask_output=False`) and its IoU estimate. What does not depend on the box keeps a batch of one and is
broadcast, so the embedding is never repeated N times.
Letters: N boxes, T prompt tokens (7), P image tokens (E * E), C width (256).
"""

import torch
from torch import Tensor, nn

from .common import MLP, LayerNorm2d, MLPBlock, softmax_attention
from .config import Config


class TokenAttention(nn.Module):
    """Multi-head attention between two token sets, with an optional narrower inner width."""

    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map `(N or 1, Q, C)` against `(N or 1, K, C)` to `(N, Q, C)`."""
        q, k, v = (
            self.split(layer(x)) for layer, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        mixed = softmax_attention((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def split(self, x: Tensor) -> Tensor:
        """Map `(N, T, heads * D)` to `(N, heads, T, D)`."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, an MLP, image to tokens."""

    def __init__(self, config: Config, first: bool) -> None:
        super().__init__()
        width, heads = config.prompt_dim, config.decoder_heads
        self.first = first
        self.self_attn = TokenAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = TokenAttention(width, heads, 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, config.decoder_mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = TokenAttention(width, heads, 2)

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens `(N, T, C)` and image `(N, P, C)`; the image may come in with a batch of one."""
        tokens = self.norm1(self._self_attention(tokens, token_pe))
        image_key = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, image_key, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        seen = self.cross_attn_image_to_token(image_key, tokens + token_pe, tokens)
        return tokens, self.norm4(image + seen)

    def _self_attention(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        # In the first block the tokens *are* their position code: SAM neither adds it again nor keeps a residual.
        if self.first:
            out: Tensor = self.self_attn(tokens, tokens, tokens)
            return out
        placed = tokens + token_pe
        seen: Tensor = self.self_attn(placed, placed, tokens)
        return tokens + seen


class TwoWayTransformer(nn.Module):
    """Two two-way blocks and a last look of the tokens at the image."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config, first=index == 0) for index in range(2))
        self.final_attn_token_to_image = TokenAttention(config.prompt_dim, config.decoder_heads, 2)
        self.norm_final_attn = nn.LayerNorm(config.prompt_dim)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens `(N, T, C)` and image `(N, P, C)` from image `(1, P, C)` and tokens `(N, T, C)`."""
        token_pe = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        seen = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + seen), image


class MaskDecoder(nn.Module):
    """Image embedding and box tokens to one mask and one IoU estimate per box."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.prompt_dim
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(4, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width // 8, 3) for _ in range(4))
        self.iou_prediction_head = MLP(width, 256, 4, 3)

    def forward(self, image: Tensor, image_pe: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Decode masks.

        Args:
            image: `(B, C, E, E)` embedding with the dense prompt added; B is 1 (shared by all boxes) or N.
            image_pe: `(P, C)` position code of the grid.
            prompts: `(N, 2, C)` box tokens.

        Returns:
            `low_res_logits` `(N, 1, 4E, 4E)` and `iou_predictions` `(N, 1)`.
        """
        side = image.shape[-1]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(prompts.shape[0], -1, -1), prompts], dim=1)
        tokens, seen = self.transformer(image.flatten(2).transpose(1, 2), image_pe, tokens)
        fine = self.output_upscaling(seen.transpose(1, 2).reshape(-1, seen.shape[2], side, side))
        brush = self.output_hypernetworks_mlps[0](tokens[:, 1]).unsqueeze(1)
        logits = (brush @ fine.flatten(2)).reshape(-1, 1, 4 * side, 4 * side)
        iou: Tensor = self.iou_prediction_head(tokens[:, 0])[:, :1]
        return logits, iou
