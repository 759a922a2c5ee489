"""Boxes as a person draws them: near the object, never exact.

A candidate that keeps the masks of perfect boxes and loses those of real ones is no use. Prompts are seeded by case, so
that every candidate and the source see the same ones. Knows nothing of models.
"""

import hashlib
from dataclasses import replace

import numpy as np

from ..runtime.types import Boxes, Case

# MedSAM was trained with each side of the tight box moved outward by 0 to 20 of 1024 pixels, LiteMedSAM by 0 to 5 of
# 256, the same share (`bbox_shift` in train_one_gpu.py of bowang-lab/MedSAM, branches main and LiteMedSAM).
SHIFT = 20 / 1024
# Training never cut into the object; people do. No more than this share of the box, so that it still names the object.
INWARD = 0.1


def jittered(boxes: Boxes, image_hw: tuple[int, int], rng: np.random.Generator, shift: float = SHIFT) -> Boxes:
    """Move each side of each box by chance.

    Args:
        boxes: float32 `(N, 4)` inside the image, as `check_boxes` returns them.
        image_hw: Height and width of the image.
        rng: Where chance comes from.
        shift: The most that a side moves out or in, as a share of the image's width or height. Inward it moves by at
            most a tenth of the box as well.

    Returns:
        float32 `(N, 4)`, ordered, not empty, inside the image.
    """
    height, width = image_hw
    limits = np.array([width, height, width, height], np.float64)
    exact = boxes.astype(np.float64)
    sides = np.tile(exact[:, 2:] - exact[:, :2], 2)
    outward = np.broadcast_to(shift * limits, exact.shape)
    inward = np.minimum(outward, INWARD * sides)
    moves = rng.uniform(-inward, outward)  # above 0 is outward
    moved: Boxes = np.clip(exact + moves * (-1, -1, 1, 1), 0, limits).astype(np.float32)
    return moved


def with_jitter(case: Case, seed: int, shift: float = SHIFT) -> Case:
    """Return the case with its boxes moved, the same for the same seed and case id whatever else is drawn."""
    digest = hashlib.sha256(f"{seed} {case.id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    return replace(case, boxes=jittered(case.boxes, (case.image.shape[0], case.image.shape[1]), rng, shift))
