"""What the authors' own scripts do around the model, with the libraries that they do it with.

Written after MedSAM_Inference.py (bowang-lab/MedSAM, main) and CVPR24_LiteMedSAM_infer.py (branch LiteMedSAM), and
never through this toolkit's own profile steps: it is what they are compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...runtime.errors import UsageError
from ...runtime.profile import Profile
from ...runtime.types import AnyArray, Boxes, Image, Masks


@dataclass(frozen=True)
class Steps:
    """One script's steps.

    Attributes:
        prepare: uint8 `(H, W, 3)` to the model's float32 `(1, 3, S, S)`, grey levels 0 to 1.
        boxes: `(N, 4)` in pixels of the image, and its `(H, W)`, to `(N, 4)` in pixels of the model's input.
        draw: Logits `(N, 1, 4E, 4E)` and `(H, W)` to masks bool `(N, H, W)`.
    """

    prepare: Callable[[Image], torch.Tensor]
    boxes: Callable[[Boxes, tuple[int, int]], torch.Tensor]
    draw: Callable[[torch.Tensor, tuple[int, int]], Masks]


def steps_for(profile: Profile) -> Steps:
    """Return the script of a profile; loads what it needs.

    Raises:
        UsageError: If no script of the authors' is known for it.
    """
    match profile.name:
        case "medsam" | "litemedsam-slicer":  # the plug-in does at 256 pixels what MedSAM does at 1024
            return _medsam(profile.image_size)
        case "litemedsam":
            return _lite_medsam(profile.image_size)
    known = "medsam, litemedsam or litemedsam-slicer"
    raise UsageError(f"a profile among {known}", repr(profile.name), "measure this bundle without --baseline")


def _medsam(side: int) -> Steps:
    from skimage import transform

    resize: Callable[..., AnyArray] = transform.resize

    def prepare(image: Image) -> torch.Tensor:
        resized = resize(image, (side, side), order=3, preserve_range=True, anti_aliasing=True)
        return _tensor(_min_max(resized.astype(np.uint8)))

    def boxes(given: Boxes, image_hw: tuple[int, int]) -> torch.Tensor:
        height, width = image_hw
        return torch.as_tensor(given / np.array([width, height, width, height]) * side, dtype=torch.float)

    def draw(logits: torch.Tensor, image_hw: tuple[int, int]) -> Masks:
        # Probabilities are interpolated, not logits; the other script has it the other way round.
        grown = F.interpolate(torch.sigmoid(logits), size=image_hw, mode="bilinear", align_corners=False)
        return _mask(grown)

    return Steps(prepare, boxes, draw)


def _lite_medsam(side: int) -> Steps:
    import cv2

    def size(image_hw: tuple[int, int], longest: int) -> tuple[int, int]:
        scale = longest / max(image_hw)
        return int(image_hw[0] * scale + 0.5), int(image_hw[1] * scale + 0.5)

    def prepare(image: Image) -> torch.Tensor:
        height, width = size((image.shape[0], image.shape[1]), side)
        resized = _min_max(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
        return _tensor(np.pad(resized, ((0, side - height), (0, side - width), (0, 0))))

    def boxes(given: Boxes, image_hw: tuple[int, int]) -> torch.Tensor:
        return torch.as_tensor((given.astype(np.float64) * (side / max(image_hw))).astype(np.int64), dtype=torch.float)

    def draw(logits: torch.Tensor, image_hw: tuple[int, int]) -> Masks:
        height, width = size(image_hw, logits.shape[-1])
        grown = F.interpolate(logits[..., :height, :width], size=image_hw, mode="bilinear", align_corners=False)
        return _mask(torch.sigmoid(grown))

    return Steps(prepare, boxes, draw)


def _min_max(image: AnyArray) -> AnyArray:
    scaled: AnyArray = (image - image.min()) / np.clip(image.max() - image.min(), a_min=1e-8, a_max=None)
    return scaled


def _tensor(image: AnyArray) -> torch.Tensor:
    return torch.tensor(image).float().permute(2, 0, 1).unsqueeze(0)


def _mask(probabilities: torch.Tensor) -> Masks:
    drawn: Masks = probabilities[:, 0].numpy() > 0.5
    return drawn
