"""The whole model, and the two halves that a bundle ships: image to embedding, embedding and boxes to masks.

The halves are at once the graphs that are exported and the PyTorch reference that every backend is held against.
They know the graph contract (docs/bundle.md) and no file format.
"""

import torch
from torch import Tensor, nn

from .config import Config, SamConfig
from .image_encoder import ImageEncoder
from .mask_decoder import MaskDecoder
from .prompt_encoder import PromptEncoder
from .tiny_vit import TinyVit


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder under the authors' names."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config) if isinstance(config, SamConfig) else TinyVit(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def encode(self, image: Tensor) -> Tensor:
        """Map uint8 `(B, 3, S, S)` to the embedding `(B, 256, E, E)`."""
        out: Tensor = self.image_encoder(min_max(image))
        return out

    def decode(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map an embedding `(1 or N, 256, E, E)` and boxes `(N, 4)` to logits `(N, 1, 4E, 4E)` and IoU `(N, 1)`."""
        prompts = self.prompt_encoder(boxes)
        image_pe = self.prompt_encoder.pe_layer.grid(self.config.grid)
        dense = self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        logits, iou = self.mask_decoder(embedding + dense, image_pe, prompts)
        return logits, iou


def min_max(image: Tensor) -> Tensor:
    """Scale each image of a uint8 batch `(B, 3, S, S)` to 0…1 over all channels jointly, as MedSAM_Inference.py does.

    The divisor is at least 1, not 1e-8: grey levels are integers, so nothing changes, and a constant image gives
    zeros instead of the NaN that 1e-8 becomes in float16. The cast comes first: TensorRT reduces no uint8.
    """
    pixels = image.to(torch.float32)
    low = pixels.amin(dim=(1, 2, 3), keepdim=True)
    high = pixels.amax(dim=(1, 2, 3), keepdim=True)
    return (pixels - low) / torch.clamp(high - low, min=1.0)


class EncoderGraph(nn.Module):
    """The `encoder` part: `image` to `image_embedding`."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """See `Sam.encode`."""
        return self.model.encode(image)


class DecoderGraph(nn.Module):
    """The `decoder` part: `image_embedding` and `boxes` to `low_res_logits` and `iou_predictions`."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sam.decode`."""
        return self.model.decode(image_embedding, boxes)
