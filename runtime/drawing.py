"""Draws masks and boxes over an image, for a person to judge them.

Colours are Okabe and Ito's, which people with colour-blindness can tell apart; neighbours get different ones.
Contours follow the mask's own pixels: nothing is smoothed, so the picture shows what the model drew.
Knows nothing about files.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import PIL.Image

from .errors import BoxError, ImageError
from .pixels import as_image
from .types import Boxes, Image, Mask, Masks

# Okabe and Ito without black and gray; their blue is lightened, to be seen on dark images
PALETTE = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 190, 140),
        (240, 228, 66),
        (213, 94, 0),
        (204, 121, 167),
        (70, 130, 230),
    ],
    np.float32,
)
SIDE, CROWDED_SIDE = 512, 1024  # a picture with a longer side below this is enlarged
CROWD = 16  # objects; more of them need room, or the outlines hide what they enclose
MAX_SCALE = 8
FILL, BOX = 0.28, 0.7  # opacities

Canvas = npt.NDArray[np.float32]


def overlay(image: Image, masks: Masks, boxes: Boxes, colours: Sequence[int] | None = None) -> Image:
    """Draw each mask as a translucent area with a crisp contour, and each box as a thin outline.

    Args:
        image: uint8 `(H, W, 3)`.
        masks: bool `(N, H, W)`; an empty one shows only its box.
        boxes: float32 `(N, 4)` in pixels of `image`, inclusive corners.
        colours: An index of `PALETTE` for each, from `colours_of`; None chooses them from the boxes.

    Returns:
        uint8 `(kH, kW, 3)`: a small image is enlarged by a whole number k (a crowded one more).

    Raises:
        ImageError: The image is no RGB image, or the masks are of another size.
        BoxError: Another number of boxes than of masks.
    """
    image = as_image(image)
    if masks.shape[1:] != image.shape[:2]:
        raise ImageError(f"masks of {image.shape[:2]} pixels", f"shape {masks.shape}", "pass masks of this image")
    if len(boxes) != len(masks):
        raise BoxError(f"{len(masks)} boxes, one per mask", f"{len(boxes)}", "pass the boxes of these masks")
    side = SIDE if len(masks) <= CROWD else CROWDED_SIDE
    scale = min(MAX_SCALE, math.ceil(side / max(image.shape[:2])))
    canvas = _enlarge(image, scale)
    chosen = PALETTE[list(colours) if colours is not None else colours_of(boxes)]
    for mask, colour in zip(masks, chosen, strict=True):
        _draw_mask(canvas, mask, colour, scale)
    for box, colour in zip(boxes, chosen, strict=True):
        _draw_box(canvas, box, colour, scale)
    return np.rint(canvas).astype(np.uint8)


def _enlarge(image: Image, scale: int) -> Canvas:
    """The image at `scale`, interpolated so that the anatomy stays readable."""
    height, width = image.shape[:2]
    enlarged = PIL.Image.fromarray(image).resize((width * scale, height * scale), PIL.Image.Resampling.BICUBIC)
    return np.asarray(enlarged).astype(np.float32)


def colours_of(boxes: Boxes) -> list[int]:
    """Give each box the colour whose nearest earlier use is farthest away; unused colours first."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = np.full((len(boxes), len(PALETTE)), np.inf)  # from each box to the nearest one of each colour
    chosen = []
    for index, centre in enumerate(centres):
        colour = int(distances[index].argmax())
        chosen.append(colour)
        reach = np.hypot(*(centres - centre).T)
        distances[:, colour] = np.minimum(distances[:, colour], reach)
    return chosen


def _draw_mask(canvas: Canvas, mask: Mask, colour: npt.NDArray[np.float32], scale: int) -> None:
    """Fill and outline one mask, touching only the part of the canvas that it covers."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    large = mask[part].repeat(scale, axis=0).repeat(scale, axis=1)
    view = canvas[tuple(slice(side.start * scale, side.stop * scale) for side in part)]
    view[large] += FILL * (colour - view[large])
    line = large & ~_eroded(large, _line_width(canvas))
    view[line] = colour


def _line_width(canvas: Canvas) -> int:
    """Two pixels on a usual screen, more on a picture that will be shown smaller."""
    longest: int = max(canvas.shape)
    return max(2, round(longest / 700))


def _eroded(mask: Mask, steps: int) -> Mask:
    """Take off `steps` layers of pixels; beyond the array there is background."""
    for _ in range(steps):
        padded = np.pad(mask, 1)
        inner = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2]
        mask = inner & padded[1:-1, 2:]
    return mask


def _draw_box(canvas: Canvas, box: npt.NDArray[np.float32], colour: npt.NDArray[np.float32], scale: int) -> None:
    """Outline the pixels from corner to corner, both included, with a thin line."""
    height, width = canvas.shape[:2]
    x_min, y_min = (int(v) for v in np.clip(np.floor(box[:2]) * scale, 0, (width - 1, height - 1)))
    x_max, y_max = (int(v) for v in np.clip((np.floor(box[2:]) + 1) * scale - 1, 0, (width - 1, height - 1)))
    across, down = slice(x_min, x_max + 1), slice(y_min + 1, y_max)
    for line in ((y_min, across), (y_max, across), (down, x_min), (down, x_max)):
        canvas[line] += BOX * (colour - canvas[line])
