"""SAM's prompt encoder, boxes only: a box becomes two tokens; the absence of a mask becomes one vector.

Source: segment_anything/modeling/prompt_encoder.py; random Fourier features after Tancik et al. 2020
(arXiv 2006.10739). The point and mask branches are kept as parameters, so that a checkpoint's keys all have a
home, but MedSAM prompts with boxes and nothing here computes them.
"""

import math

import torch
from torch import Tensor, nn

from .common import LayerNorm2d
from .config import Config


class PositionEmbeddingRandom(nn.Module):
    """Fourier features of points in the unit square."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, points: Tensor) -> Tensor:
        """Map `(..., 2)` x, y in 0…1 to `(..., 2 * features)`."""
        phase = ((2 * points - 1) @ self.positional_encoding_gaussian_matrix) * (2 * math.pi)
        return torch.cat([phase.sin(), phase.cos()], dim=-1)

    def grid(self, side: int) -> Tensor:
        """Return the features of the cell centres of a grid, `(side * side, 2 * features)`, row by row."""
        matrix = self.positional_encoding_gaussian_matrix
        centres = (torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        out: Tensor = self(torch.stack([x, y], dim=-1).reshape(-1, 2))
        return out


class PromptEncoder(nn.Module):
    """Boxes `(N, 4)` in encoder pixels to tokens `(N, 2, 256)`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.prompt_dim
        self.image_size = config.image_size
        self.pe_layer = PositionEmbeddingRandom(width // 2)
        # Kinds of point: negative, positive, box corner at the top left, box corner at the bottom right.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, boxes: Tensor) -> Tensor:
        """Embed boxes; corners are moved to pixel centres first (+0.5), as the weights were trained."""
        corners = (boxes.reshape(-1, 2, 2) + 0.5) / self.image_size
        kinds = torch.stack([self._kind(2), self._kind(3)])
        out: Tensor = self.pe_layer(corners) + kinds
        return out

    def _kind(self, index: int) -> Tensor:
        return self.point_embeddings[index].get_parameter("weight")[0]
