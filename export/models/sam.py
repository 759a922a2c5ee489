"""The whole model, and the two halves that a bundle ships: image to embedding, embedding and boxes to masks.

The halves are at once the graphs that are exported and the PyTorch reference that every backend is held against.
They know the graph contract (docs/bundle.md) and no file format.
"""

from torch import Tensor, nn

from .config import Config, SamConfig
from .image_encoder import ImageEncoder
from .mask_decoder import MaskDecoder
from .normalisation import Normalisation, min_max
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

    def encode(self, *inputs: Tensor, normalise: Normalisation = min_max) -> Tensor:
        """Map the inputs of the `encoder` part, uint8 `(B, 3, S, S)` first, to the embedding `(B, 256, E, E)`."""
        out: Tensor = self.image_encoder(normalise(*inputs))
        return out

    def decode(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map an embedding `(1 or N, 256, E, E)` and boxes `(N, 4)` to logits `(N, 1, 4E, 4E)` and IoU `(N, 1)`."""
        prompts = self.prompt_encoder(boxes)
        image_pe = self.prompt_encoder.pe_layer.grid(self.config.grid)
        dense = self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        logits, iou = self.mask_decoder(embedding + dense, image_pe, prompts)
        return logits, iou


class EncoderGraph(nn.Module):
    """The `encoder` part: `image`, and `valid_hw` where the normalisation takes it, to `image_embedding`."""

    def __init__(self, model: Sam, normalise: Normalisation = min_max) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, *inputs: Tensor) -> Tensor:
        """See `Sam.encode`."""
        return self.model.encode(*inputs, normalise=self.normalise)


class DecoderGraph(nn.Module):
    """The `decoder` part: `image_embedding` and `boxes` to `low_res_logits` and `iou_predictions`."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sam.decode`."""
        return self.model.decode(image_embedding, boxes)
