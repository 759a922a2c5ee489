"""A picture of some slices of a segmented volume, for a person to judge it.

Each object has one colour on all slices, and its tight box. Knows nothing of files.
"""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

from ..boxes import boxes_from_masks
from ..drawing import colours_of, overlay
from ..types import AnyArray, Boxes, Image
from .levels import Slices
from .prompts import Prompt

TILES = 9
SIDE = 448  # of a tile
BORDER = 4
_GRAY = (160, 160, 160)


def montage(slices: Slices, view: AnyArray, prompts: Sequence[Prompt]) -> Image:
    """Draw up to nine slices, evenly spaced over those that hold a label; the middle one where none does.

    Args:
        slices: As the model saw them.
        view: Labels `(slices, rows, columns)`.
        prompts: The objects.

    Returns:
        uint8 `(H, W, 3)`; each tile names its slice, counted from 0.
    """
    filled = [index for index, plane in enumerate(view) if plane.any()] or [len(view) // 2]
    places = np.unique(np.linspace(0, len(filled) - 1, min(TILES, len(filled))).round().astype(int))
    colours = colours_of(np.array([prompt.box for prompt in prompts], np.float32))
    tiles = [_tile(slices, view, filled[place], colours) for place in places]
    columns = int(np.ceil(np.sqrt(len(tiles))))
    height, width = (max(tile.shape[axis] for tile in tiles) + BORDER for axis in (0, 1))
    canvas = np.zeros((-(-len(tiles) // columns) * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas


def _tile(slices: Slices, view: AnyArray, index: int, colours: Sequence[int]) -> Image:
    labels = [label for label in np.unique(view[index]).tolist() if label]
    masks = (
        np.stack([view[index] == label for label in labels]) if labels else np.zeros((0, *slices.image_hw), np.bool_)
    )
    boxes: Boxes = boxes_from_masks(masks)
    gray = slices.image(index)
    image = np.repeat(gray[:, :, None], 3, axis=2)
    drawn = PIL.Image.fromarray(overlay(image, masks, boxes, [colours[label - 1] for label in labels]))
    scale = SIDE / max(drawn.size)
    size = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    small = drawn.resize(size, PIL.Image.Resampling.LANCZOS)
    PIL.ImageDraw.Draw(small).text((6, 4), f"slice {index}", fill=_GRAY)
    return np.asarray(small)
