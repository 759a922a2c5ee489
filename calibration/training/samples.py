"""Training samples: sample `i` is a function of `i` alone, so a resumed run sees what an unbroken one would.

Most samples are phantoms; a fixed share are real cases, cropped, turned and re-windowed at random because there are
few of them. It knows nothing of the model but the sizes of its input and output.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as PillowImage
from torch.utils.data import Dataset

from ...runtime.boxes import boxes_from_masks
from ...runtime.types import Boxes, Case, Image, Masks
from ..phantoms import phantom

# Held-out phantoms count from 0 (verification, benchmarks, the model card); training starts far above them.
FIRST_TRAINING_SEED = 10_000_000
SMALLEST_OBJECT = 30  # visible pixels; a crop may leave less of an object than a box can ask for


@dataclass(frozen=True)
class SampleSpec:
    """What a sample looks like: input side, mask side, boxes per image, share of real cases, jitter of the boxes."""

    image_size: int
    mask_size: int
    boxes: int = 4
    real_share: float = 0.15
    jitter: float = 0.08


class Samples(Dataset[dict[str, torch.Tensor]]):
    """Endless samples; index `i` gives image uint8 `(3, S, S)`, boxes `(K, 4)`, targets `(K, M, M)` in 0…1."""

    def __init__(self, spec: SampleSpec, cases: Sequence[Case], seed: int = 0) -> None:
        self.spec, self.cases, self.seed = spec, tuple(cases), seed

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Draw sample `index`."""
        rng = np.random.default_rng([self.seed, index])
        case = self._case(index, rng)
        assert case.masks is not None
        chosen = rng.integers(len(case.masks), size=self.spec.boxes)
        masks = case.masks[chosen]
        boxes = jittered(boxes_from_masks(masks), case.image.shape[:2], self.spec.jitter, rng)
        height, width = case.image.shape[:2]
        scale = np.float32(self.spec.image_size) / np.array([width, height, width, height], np.float32)
        return {
            "image": torch.from_numpy(stretched(case.image, self.spec.image_size)),
            "boxes": torch.from_numpy(boxes * scale),
            "targets": torch.from_numpy(coverage(masks, self.spec.mask_size)),
        }

    def _case(self, index: int, rng: np.random.Generator) -> Case:
        if self.cases and rng.random() < self.spec.real_share:
            return augmented(self.cases[rng.integers(len(self.cases))], rng)
        return flipped(phantom(FIRST_TRAINING_SEED + index, jitter=0.0), rng)


def stretched(image: Image, side: int) -> np.ndarray:
    """Return uint8 `(3, side, side)`.

    Pillow's bicubic, not the profile's exact kernel: at 256 pixels most phantoms are not resized at all, and a model
    that only works with one kernel would be a brittle one.
    """
    resized = PillowImage.fromarray(image).resize((side, side), PillowImage.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def jittered(boxes: Boxes, image_hw: tuple[int, int], jitter: float, rng: np.random.Generator) -> Boxes:
    """Move each side of each box by up to `jitter` of its length, as a hurried hand does; stay in the image."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + size * rng.uniform(-jitter, jitter, boxes.shape)
    height, width = image_hw
    limited = np.clip(moved, 0, [width, height, width, height])
    limited[:, 2:] = np.maximum(limited[:, 2:], limited[:, :2] + 1)
    return limited.astype(np.float32)


def coverage(masks: Masks, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the covered share of each cell of a `(side, side)` grid, float32 `(K, side, side)`.

    Soft targets teach the low-resolution logits where inside a cell the contour runs, which is what the bilinear
    step behind the decoder reads back.
    """
    cells = [
        PillowImage.fromarray(mask.astype(np.uint8) * 255).resize((side, side), PillowImage.Resampling.BOX)
        for mask in masks
    ]
    return np.stack([np.asarray(cell, np.float32) / 255 for cell in cells])


def flipped(case: Case, rng: np.random.Generator) -> Case:
    """Mirror and turn an image with its masks; medical phantoms have no preferred side."""
    assert case.masks is not None
    image, masks = case.image, case.masks
    if rng.random() < 0.5:
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    turns = int(rng.integers(4))
    return replaced(case, np.rot90(image, turns), np.rot90(masks, turns, axes=(1, 2)))


def augmented(case: Case, rng: np.random.Generator) -> Case:
    """Crop, turn and re-window a real case, so that a handful of them teach texture and not themselves."""
    assert case.masks is not None
    height, width = case.image.shape[:2]
    side = rng.uniform(0.5, 1.0)
    rows, columns = int(height * side), int(width * rng.uniform(0.9, 1.1) * side)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(max(width - columns, 0) + 1))
    window = np.s_[top : top + rows, left : left + columns]
    masks = np.stack([mask[window] for mask in case.masks])
    visible = masks.sum(axis=(1, 2)) >= SMALLEST_OBJECT
    if not visible.any():
        return flipped(replaced(case, rewindowed(case.image, rng), case.masks), rng)
    return flipped(replaced(case, rewindowed(case.image[window], rng), masks[visible]), rng)


def rewindowed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gamma, contrast, polarity and noise of a uint8 image."""
    x = (image / 255.0) ** rng.uniform(0.6, 1.6)
    x = x if rng.random() < 0.8 else 1 - x
    x = (x - 0.5) * rng.uniform(0.6, 1.2) + rng.uniform(0.4, 0.6)
    x = x + rng.normal(0, rng.uniform(0, 0.05), x.shape[:2])[..., None]
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def replaced(case: Case, image: np.ndarray, masks: Masks) -> Case:
    """Return the case with another image and other masks."""
    masks = np.ascontiguousarray(masks)
    boxes = boxes_from_masks(masks)
    return Case(case.id, np.ascontiguousarray(image), boxes, masks, case.modality, case.patient)
