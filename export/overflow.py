"""Looks in both parts, operation by operation, for values that float16 cannot hold, before float16 graphs are trusted.

Trained ViTs carry a few channels whose residual grows a thousandfold; one that passes 65504 becomes infinity, and a few
layers later every value is NaN. Watching the float32 network says where and by how much, which a NaN does not. What is
watched is what each operation gives, not what each layer gives: a sum inside a block, or a score, overflows as well.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..runtime.errors import ParityError
from ..runtime.profile import Profile
from ..runtime.types import Case
from .models.sam import Sam
from .reference import Reference
from .variants import formed_model

LARGEST = float(torch.finfo(torch.float16).max)  # 65504
_BLOCK = re.compile(r"blocks\.\d+|(?:transformer\.)?layers\.\d+(?:\.blocks\.\d+)?")
# These compute nothing: their values were seen when they were computed. One that is missing here costs time only.
_MOVES = {"__getitem__", "expand", "flatten", "permute", "reshape", "split", "transpose", "unbind", "unsqueeze"}


@dataclass(frozen=True)
class Peak:
    """The largest magnitude in a block; where the block overflows, that of the first operation that does.

    Attributes:
        part: "encoder" or "decoder".
        block: A block's name, the first word of what is in no block, or "" between them.
        layer: The layer in the block that computed it, or "" for the block itself (its residuals, say).
        operation: The operation in the layer, as PyTorch calls it.
        largest: The magnitude.
    """

    part: str
    block: str
    layer: str
    operation: str
    largest: float

    @property
    def overflows(self) -> bool:
        """Whether float16 cannot hold it; NaN counts."""
        return not self.largest <= LARGEST

    @property
    def place(self) -> str:
        """Part, block, layer and operation in words."""
        names = " ".join(name for name in (self.part, self.block, self.layer) if name)
        return f"{names} ({self.operation})"


def model_peaks(model: Sam, profile: Profile, cases: Iterable[Case], plain: bool = False) -> tuple[Peak, ...]:
    """Compute cases in float32, one at a time, and return the peak of each block, in the order in which they run.

    Args:
        model: The network.
        profile: How the cases are prepared.
        cases: Images with boxes.
        plain: Watch the reference modules as they are, instead of the shape in which both parts are exported.
    """
    exported = model if plain else formed_model(formed_model(model, "encoder"), "decoder")
    reference = Reference(exported, profile)
    # What float16 graphs compute in float16: the normalisation and the boxes' coordinates are outside.
    parts = {"encoder": reference.model.image_encoder, "decoder": reference.model.mask_decoder}
    with _watching(parts) as found:
        for case in cases:
            reference.decode(reference.embed(case.image), case.boxes, (case.image.shape[0], case.image.shape[1]))
    return tuple(found.values())


def worst(found: Sequence[Peak]) -> Peak:
    """Return the first peak that overflows, or else the largest."""
    return next((peak for peak in found if peak.overflows), max(found, key=lambda peak: peak.largest))


def require_room(found: Sequence[Peak]) -> None:
    """Refuse float16 graphs that would overflow.

    Raises:
        ParityError: Naming the first part and block, the layer and the value.
    """
    peak = worst(found)
    if peak.overflows:
        raise ParityError(
            f"values of at most {LARGEST:.0f}, which float16 can hold, in every block",
            f"{peak.largest:.3g} in {peak.place}",
            "export without --target tensorrt and deploy float32, or bfloat16 where the device has it",
        )


@contextmanager
def _watching(parts: Mapping[str, nn.Module]) -> Iterator[dict[tuple[str, str], Peak]]:
    watch = _Watch()
    handles = [handle for part, module in parts.items() for handle in watch.follow(part, module)]
    try:
        with watch:
            yield watch.found
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Follows who computes, and keeps one number of what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, str], Peak] = {}
        self._computing: list[tuple[str, str, str]] = []  # part, block and layer; the innermost is the last

    def follow(self, part: str, root: nn.Module) -> Iterator[torch.utils.hooks.RemovableHandle]:
        """Hook a part's modules."""
        for name, module in root.named_modules():
            place = (part, *_place(name))
            yield module.register_forward_pre_hook(lambda *_, place=place: self._computing.append(place))
            yield module.register_forward_hook(lambda *_: self._leave())

    def _leave(self) -> None:
        self._computing.pop()  # and no more: what a hook returns would take the place of the output

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        if self._computing and func.__name__ not in _MOVES:
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, Tensor) and value.is_floating_point():
                    self._note(func.__name__, value)
        return result

    def _note(self, operation: str, value: Tensor) -> None:
        part, block, layer = self._computing[-1]
        held = self.found.get((part, block))
        # Nothing that comes later mends an overflow, NaN included; the first says where it begins.
        if held is None or not held.overflows:
            low, high = torch.aminmax(value)  # unlike abs().max() it makes no copy
            largest = max(-float(low), float(high))
            if held is None or not largest <= held.largest:
                self.found[part, block] = Peak(part, block, layer, operation, largest)


def _place(name: str) -> tuple[str, str]:
    """Split a module's name into its block, or the first word of it, and the layer inside."""
    match = _BLOCK.match(name)
    block = match[0] if match else name.split(".")[0]
    return block, name[len(block) + 1 :]
