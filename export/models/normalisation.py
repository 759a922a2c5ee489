"""Grey levels to what the network was trained on: the first nodes of the encoder graph, one form for each profile.

All of it is float32, and the cast comes first: TensorRT reduces and transposes no uint8. It knows profiles as data, and
nothing of networks.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...runtime.profile import MEAN_STD, MEAN_STD_THEN_PADDING, MIN_MAX, Channels, Profile, unknown

Normalisation = Callable[..., Tensor]
"""From the inputs of the `encoder` part, in their order, to float32 `(B, 3, S, S)`."""


def normalisation_of(profile: Profile) -> Normalisation:
    """Return the normalisation that a profile states.

    Raises:
        ArtefactError: If it is one that this toolkit does not know.
    """
    match profile.normalisation, profile.mean, profile.std:
        case normalisation, None, None if normalisation == MIN_MAX:
            return min_max
        case normalisation, (_, _, _) as mean, (_, _, _) as std if normalisation == MEAN_STD:
            return MeanStd(mean, std)
        case normalisation, (_, _, _) as mean, (_, _, _) as std if normalisation == MEAN_STD_THEN_PADDING:
            return MeanStdThenPadding(mean, std, profile.image_size)
    raise unknown("normalisation", profile.normalisation)


def min_max(image: Tensor) -> Tensor:
    """Scale each image of a uint8 batch `(B, 3, S, S)` to 0…1 over all channels jointly, as MedSAM_Inference.py does.

    The divisor is at least 1, not 1e-8: grey levels are integers, so nothing changes, and a constant image gives
    zeros instead of the NaN that 1e-8 becomes in float16.
    """
    pixels = image.to(torch.float32)
    low = pixels.amin(dim=(1, 2, 3), keepdim=True)
    high = pixels.amax(dim=(1, 2, 3), keepdim=True)
    return (pixels - low) / torch.clamp(high - low, min=1.0)


class MeanStd(nn.Module):
    """`(x / 255 - mean) / std` for each channel, as Transformers' SamImageProcessor does in float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 `(B, 3, S, S)` to float32 of the same shape."""
        scaled: Tensor = (image.to(torch.float32) / 255.0 - self.mean) / self.std
        return scaled


class MeanStdThenPadding(MeanStd):
    """`MeanStd`, then 0 right of and below the image, as a processor has it that pads last."""

    places: Tensor

    def __init__(self, mean: Channels, std: Channels, side: int) -> None:
        super().__init__(mean, std)
        self.register_buffer("places", torch.arange(side, dtype=torch.int32), persistent=False)

    def forward(self, image: Tensor, valid_hw: Tensor) -> Tensor:  # type: ignore[override]
        """Map uint8 `(B, 3, S, S)` and the image's height and width, int32 `(2,)`, to float32 `(B, 3, S, S)`."""
        inside = (self.places < valid_hw[0])[:, None] & (self.places < valid_hw[1])[None, :]
        return torch.where(inside, super().forward(image), torch.zeros(()))
