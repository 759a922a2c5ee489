"""Looks block by block for values that float16 cannot hold, before a float16 graph is trusted.

Trained ViTs carry a few channels whose residual grows a thousandfold; one that passes 65504 becomes infinity, and a few
layers later every value is NaN. Watching the float32 network says where and by how much, which a NaN does not.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..runtime.errors import ParityError
from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.types import Image
from .models.normalisation import normalisation_of
from .models.sam import Sam
from .variants import formed_model

LARGEST = float(torch.finfo(torch.float16).max)  # 65504
_BLOCK = re.compile(r"(?:layers\.\d+\.)?blocks\.\d+")


@dataclass(frozen=True)
class Peak:
    """The largest magnitude in a block, and the layer whose output it is ("" for the block's own)."""

    block: str
    layer: str
    largest: float

    @property
    def overflows(self) -> bool:
        """Whether float16 cannot hold it; NaN counts."""
        return not self.largest <= LARGEST


def model_peaks(model: Sam, profile: Profile, images: Iterable[Image]) -> tuple[Peak, ...]:
    """Return the peak of each block of a model's encoder on images uint8 `(H, W, 3)` under a profile."""
    normalise = normalisation_of(profile)
    inputs = (map(torch.from_numpy, encoder_inputs(profile, image).values()) for image in images)
    return peaks(formed_model(model, "encoder").image_encoder, (normalise(*tensors) for tensors in inputs))


@torch.no_grad()
def peaks(encoder: nn.Module, images: Iterable[Tensor]) -> tuple[Peak, ...]:
    """Run a float32 encoder and return the peak of each block, in their order; what is in no block counts by itself.

    Args:
        encoder: In the shape in which it is exported: its layers are those of the float16 graph.
        images: Normalised images `(1, 3, S, S)`.
    """
    found: dict[str, Peak] = {}
    with _watched(encoder, found):
        for image in images:
            encoder(image)
    return tuple(found.values())


def require_room(found: Iterable[Peak]) -> None:
    """Refuse a float16 graph that would overflow.

    Raises:
        ParityError: Naming the first block, its layer and the value.
    """
    first = next((peak for peak in found if peak.overflows), None)
    if first is not None:
        place = f"{first.block} {first.layer}".strip()
        raise ParityError(
            f"values of at most {LARGEST:.0f}, which float16 can hold, in every block",
            f"{first.largest:.3g} in {place}",
            "export without --target tensorrt and deploy float32, or bfloat16 where the device has it",
        )


@contextmanager
def _watched(encoder: nn.Module, found: dict[str, Peak]) -> Iterator[None]:
    handles = [
        module.register_forward_hook(_hook(*_place(name), found))
        for name, module in encoder.named_modules()
        if name and not isinstance(module, nn.ModuleList)  # a list is never called
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _place(name: str) -> tuple[str, str]:
    """Split a module's name into its block, or the first word of it, and the layer inside."""
    match = _BLOCK.match(name)
    block = match[0] if match else name.split(".")[0]
    return block, name[len(block) + 1 :]


def _hook(block: str, layer: str, found: dict[str, Peak]) -> "_Hook":
    found.setdefault(block, Peak(block, "", 0.0))
    return _Hook(block, layer, found)


@dataclass(frozen=True, eq=False)
class _Hook:
    block: str
    layer: str
    found: dict[str, Peak]

    def __call__(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        largest = float(output.abs().max())
        held = self.found[self.block].largest
        if not math.isnan(held) and not largest <= held:  # NaN stays: nothing that comes later mends it
            self.found[self.block] = Peak(self.block, self.layer, largest)
