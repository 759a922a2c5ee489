"""What the authors' own scripts do around the model, with the libraries that they do it with.

Written after MedSAM_Inference.py (bowang-lab/MedSAM, main), CVPR24_LiteMedSAM_infer.py (branch LiteMedSAM) and
classicmedsam.py (bowang-lab/MedSAMSlicer, main), and never through this toolkit's own profile steps: it is what they
are compared with. The libraries load with the first step, so that whoever asks for the names needs none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import UsageError
from ...runtime.types import AnyArray, Boxes, Image, Masks

if TYPE_CHECKING:
    import torch

Size = tuple[int, int]


@dataclass(frozen=True)
class Script:
    """One script's steps; S is the side of the model's input.

    Attributes:
        libraries: The modules that it does them with, beside PyTorch.
        resize: uint8 `(H, W, 3)` and S to the pixels that the script normalises: uint8 `(h, w, 3)`, at most S x S.
        boxes: `(N, 4)` in pixels of the image, its `(H, W)` and S, to float32 `(N, 4)` in pixels of the model's input.
        draw: Logits `(N, 1, 4E, 4E)` and `(H, W)` to masks bool `(N, H, W)`.
    """

    libraries: tuple[str, ...]
    resize: Callable[[Image, int], Image]
    boxes: Callable[[Boxes, Size, int], torch.Tensor]
    draw: Callable[[torch.Tensor, Size], Masks]


def script_for(profile: str) -> Script:
    """Return the script behind a profile's name.

    Raises:
        UsageError: If no script of the authors' is known for it.
    """
    if profile not in SCRIPTS:
        known = ", ".join(SCRIPTS)
        raise UsageError(f"a profile among {known}", repr(profile), "measure this bundle without --baseline")
    return SCRIPTS[profile]


def prepare(resized: Image, side: int) -> torch.Tensor:
    """Normalise as every script does: min-max over all channels, then zeros on the right and at the bottom.

    Args:
        resized: What a script's `resize` returned.
        side: S.

    Returns:
        float32 `(1, 3, S, S)`, 0 to 1.
    """
    import torch

    height, width = resized.shape[:2]
    scaled = (resized - resized.min()) / np.clip(resized.max() - resized.min(), a_min=1e-8, a_max=None)
    if (height, width) != (side, side):
        scaled = np.pad(scaled, ((0, side - height), (0, side - width), (0, 0)))
    return torch.tensor(scaled).float().permute(2, 0, 1).unsqueeze(0)


def longest_side(image_hw: Size, side: int) -> Size:
    """Return height and width after scaling the longer one to `side`, rounded half up."""
    scale = side / max(image_hw)
    return math.floor(image_hw[0] * scale + 0.5), math.floor(image_hw[1] * scale + 0.5)


def _stretched(image: AnyArray, side: int) -> Image:
    from skimage import transform

    resize: Callable[..., AnyArray] = transform.resize
    return resize(image, (side, side), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)


def _plug_in(image: Image, side: int) -> Image:
    """Stretch grey levels too: from one below the least to one above the most, to 0 to 255, as floats."""
    low, high = float(image.min()) - 1, float(image.max()) + 1
    return _stretched((image - low) / (high - low) * 255, side)


def _area(image: Image, side: int) -> Image:
    import cv2

    height, width = longest_side((image.shape[0], image.shape[1]), side)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _relative(boxes: Boxes, image_hw: Size, side: int) -> torch.Tensor:
    import torch

    height, width = image_hw
    return torch.as_tensor(boxes / np.array([width, height, width, height]) * side, dtype=torch.float)


def _truncated(boxes: Boxes, image_hw: Size, side: int) -> torch.Tensor:
    import torch

    # The script stores into an array of integers.
    return torch.as_tensor((boxes.astype(np.float64) * (side / max(image_hw))).astype(np.int64), dtype=torch.float)


def _probabilities(logits: torch.Tensor, image_hw: Size) -> Masks:
    # Probabilities are interpolated, not logits; LiteMedSAM's script has it the other way round.
    return _above_half(_interpolated(logits.sigmoid(), image_hw))


def _cropped_logits(logits: torch.Tensor, image_hw: Size) -> Masks:
    height, width = longest_side(image_hw, logits.shape[-1])
    return _above_half(_interpolated(logits[..., :height, :width], image_hw).sigmoid())


def _interpolated(maps: torch.Tensor, image_hw: Size) -> torch.Tensor:
    from torch.nn import functional as F

    return F.interpolate(maps, size=image_hw, mode="bilinear", align_corners=False)


def _above_half(probabilities: torch.Tensor) -> Masks:
    drawn: Masks = probabilities[:, 0].numpy() > 0.5
    return drawn


SCRIPTS = {
    "medsam": Script(("skimage.transform",), _stretched, _relative, _probabilities),
    "litemedsam": Script(("cv2",), _area, _truncated, _cropped_logits),
    "litemedsam-slicer": Script(("skimage.transform",), _plug_in, _relative, _probabilities),
}
