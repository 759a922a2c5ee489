"""The numbers that make one SAM out of the family. All but the decoder's head count are visible in the weights."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class SamConfig:
    """Sizes of a SAM1-type model with a ViT encoder.

    Attributes:
        image_size: Side of the square input in pixels (S).
        patch_size: Side of a patch in pixels; the grid has `image_size / patch_size` tokens a side.
        embed_dim, depth, num_heads, mlp_dim: The ViT.
        window_size: Side of a window in tokens, for the blocks not in `global_blocks`.
        prompt_dim: Channels of the embedding and width of the decoder.
        decoder_mlp_dim: Hidden width of the decoder's MLPs.
        decoder_heads: Heads of the decoder; 8 in every published SAM and not recoverable from the weights.
    """

    image_size: int
    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    window_size: int
    global_blocks: tuple[int, ...]
    prompt_dim: int = 256
    decoder_mlp_dim: int = 2048
    decoder_heads: int = 8
    architecture: ClassVar[str] = "sam_vit"

    @property
    def grid(self) -> int:
        """Tokens along one side of the encoder's grid; also the embedding's side E."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class TinyVitConfig:
    """Sizes of a SAM1-type model with a TinyViT encoder.

    Attributes:
        image_size: Side of the square input in pixels (S).
        patch_kernel: 1 (LiteMedSAM: no reduction) or 3 (MobileSAM: two halvings).
        widths, depths, heads, windows: One entry per stage; the first stage is convolutional and uses neither heads
            nor window.
        prompt_dim, decoder_mlp_dim, decoder_heads: As in `SamConfig`.
    """

    image_size: int
    patch_kernel: int
    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    prompt_dim: int = 256
    decoder_mlp_dim: int = 2048
    decoder_heads: int = 8
    architecture: ClassVar[str] = "tiny_vit"

    @property
    def grid(self) -> int:
        """Side of the embedding: the patch embedding reduces by 1 or 4, all mergings but the last by 2."""
        return (self.image_size // (1 if self.patch_kernel == 1 else 4)) >> (len(self.widths) - 2)


Config = SamConfig | TinyVitConfig
LITE_MEDSAM = TinyVitConfig(256, 1)
MOBILE_SAM = TinyVitConfig(1024, 3)
MEDSAM_VIT_B = SamConfig(1024, 16, 768, 12, 12, 3072, 14, (2, 5, 8, 11))
SAM_VIT_L = SamConfig(1024, 16, 1024, 24, 16, 4096, 14, (5, 11, 17, 23))
SAM_VIT_H = SamConfig(1024, 16, 1280, 32, 16, 5120, 14, (7, 15, 23, 31))
# The packaged demo: the same architecture, small enough to be trained on two CPU cores.
DEMO = SamConfig(256, 16, 192, 6, 3, 768, 7, (2, 5), decoder_mlp_dim=512)
