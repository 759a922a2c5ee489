"""The numbers that make one SAM out of the family. All but the decoder's head count are visible in the weights."""

from dataclasses import dataclass


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

    @property
    def grid(self) -> int:
        """Tokens along one side of the encoder's grid; also the embedding's side E."""
        return self.image_size // self.patch_size


MEDSAM_VIT_B = SamConfig(1024, 16, 768, 12, 12, 3072, 14, (2, 5, 8, 11))
# The packaged demo: the same architecture, small enough to be trained on two CPU cores.
DEMO = SamConfig(256, 16, 192, 6, 3, 768, 7, (2, 5), decoder_mlp_dim=512)
