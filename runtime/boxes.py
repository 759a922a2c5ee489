"""Boxes as text, as arrays, and from masks and label maps; and the two masks that a box alone gives.

Boxes are `x_min, y_min, x_max, y_max` in pixels of their image, corners inclusive, as MedSAM's and the
challenge's are: an object in columns 3 to 7 has x_min 3 and x_max 7. Knows nothing about models or files.
"""

import numpy as np
import numpy.typing as npt

from .errors import BoxError
from .types import AnyArray, Boxes, Mask, Masks

_ORDER = "x_min,y_min,x_max,y_max"


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Read one box from the command line, `"x_min,y_min,x_max,y_max"`.

    Raises:
        BoxError: Not four finite numbers. Whether they fit the image is `check_boxes`' to say.
    """
    try:
        x_min, y_min, x_max, y_max = (float(part) for part in text.split(","))
    except ValueError:
        raise _malformed(text) from None
    if not np.isfinite((x_min, y_min, x_max, y_max)).all():
        raise _malformed(text)
    return x_min, y_min, x_max, y_max


def _malformed(text: str) -> BoxError:
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    return BoxError(f"a box “{_ORDER}” of four finite numbers", f"“{shown}”", "write it like 10,20,110,95")


def check_boxes(boxes: npt.ArrayLike, image_hw: tuple[int, int]) -> Boxes:
    """Refuse every box that is not an ordered, non-empty rectangle inside its image.

    Args:
        boxes: `(N, 4)` numbers.
        image_hw: Height and width of the image; x may be 0 to W and y 0 to H, both inclusive.

    Returns:
        float32 `(N, 4)`, a copy.

    Raises:
        BoxError: Names the first bad box, counting from 1 as labels do.
    """
    given = _as_numbers(boxes)
    with np.errstate(over="ignore"):  # 1e300 becomes infinite, and is refused below
        checked = given.astype(np.float32)
    _refuse_first(checked, given, image_hw)
    return checked


def _as_numbers(boxes: npt.ArrayLike) -> AnyArray:
    """Refuse what is not a non-empty (N, 4) array of numbers."""
    expected = "boxes as an array (N, 4) of numbers"
    remedy = f"pass one row {_ORDER} per object"
    try:
        given = np.asarray(boxes)
    except (ValueError, TypeError, OverflowError):
        raise BoxError(expected, "rows of different lengths", remedy) from None
    if given.dtype.kind not in "iuf" and given.size:
        raise BoxError(expected, f"values of type {given.dtype}", remedy)
    if given.ndim == 2 and given.shape[1] == 6:
        remedy = "pass boxes of one slice; volumes are not supported here"
    if given.size == 0:
        raise BoxError("at least one box", f"none (shape {given.shape})", remedy)
    if given.ndim != 2 or given.shape[1] != 4:
        raise BoxError(expected, f"shape {given.shape}", remedy)
    return given


def _refuse_first(checked: Boxes, given: AnyArray, image_hw: tuple[int, int]) -> None:
    """Raise for the first box with a flaw; the most telling flaw comes first."""
    height, width = image_hw
    low, high = checked[:, :2], checked[:, 2:]
    infinite = np.any(~np.isfinite(checked), axis=1)
    inverted, empty = np.any(high < low, axis=1), np.any(high == low, axis=1)
    outside = np.any((checked < 0) | (checked > (width, height, width, height)), axis=1)
    bad = np.flatnonzero(infinite | inverted | empty | outside)
    if not bad.size:
        return
    index = int(bad[0])
    found = (
        f"box {index + 1} of {len(checked)} is {_show(given[index])} in an image of {width} x {height} (width x height)"
    )
    if infinite[index]:
        raise BoxError("finite box corners", found, "replace the NaN, infinite or huge value")
    if inverted[index]:
        raise BoxError(f"a box ordered {_ORDER}", found, "swap the corners so that each minimum comes first")
    if empty[index]:
        raise BoxError("a box with an area", found, "make it at least one pixel wide and high")
    raise BoxError("a box inside its image", found, _clip_remedy(checked[index], width, height))


def _clip_remedy(box: npt.NDArray[np.float32], width: int, height: int) -> str:
    """The part of the box that is inside, if any is."""
    clipped = np.clip(box, 0, (width, height, width, height))
    if (clipped[2:] <= clipped[:2]).any():
        return f"give {_ORDER} in pixels of this image: the box does not touch it"
    return f"use the part inside, {_show(clipped)}, if that is what you mean"


def _show(box: AnyArray) -> str:
    return ",".join(f"{value:.7g}" for value in box)


def boxes_from_masks(masks: Masks) -> Boxes:
    """Find the tight box of each mask.

    Args:
        masks: bool `(N, H, W)`.

    Returns:
        float32 `(N, 4)`, inclusive corners; an object one pixel wide is widened by one pixel, so that its box
        has an area.

    Raises:
        BoxError: A mask is empty, and has no box.
    """
    if masks.ndim != 3:
        raise BoxError("masks (N, H, W)", f"shape {masks.shape}", "add an axis for the objects")
    columns, rows = np.any(masks, axis=1), np.any(masks, axis=2)
    filled = np.any(rows, axis=1)
    if not filled.all():
        found = f"mask {int(np.argmin(filled))} of {len(masks)} is empty"
        raise BoxError("masks with at least one pixel", found, "leave out the empty ones")
    if not len(masks):
        return np.zeros((0, 4), np.float32)
    height, width = masks.shape[1:]
    x_max, y_max = width - 1 - columns[:, ::-1].argmax(axis=1), height - 1 - rows[:, ::-1].argmax(axis=1)
    return _widen(np.stack([columns.argmax(axis=1), rows.argmax(axis=1), x_max, y_max], axis=1), (height, width))


def boxes_from_labels(labels: AnyArray) -> tuple[Boxes, AnyArray]:
    """Find the tight box of each label in one pass over the map, however many labels there are.

    Args:
        labels: Integers `(H, W)`, 0 for the background; gaps in the numbering are fine.

    Returns:
        float32 `(N, 4)` as `boxes_from_masks`, and the labels `(N,)` in ascending order. Both are empty where
        the map holds background only.

    Raises:
        BoxError: Not a two-dimensional map of non-negative integers.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} of shape {labels.shape}"
        raise BoxError("a label map (H, W) of integers", found, "pass one slice, with 0 for the background")
    if labels.size and labels.min() < 0:
        raise BoxError("labels of 0 or more", f"{labels.min()}", "renumber the labels from 1, 0 for the background")
    starts, ends = _runs(labels)
    values = labels.ravel()[starts]
    ids, which = np.unique(values, return_inverse=True)
    boxes = np.full((len(ids), 4), np.iinfo(np.int64).max)
    boxes[:, 2:] = -1
    width = max(labels.shape[1], 1)
    for column, low, high in ((0, starts % width, ends % width), (1, starts // width, starts // width)):
        np.minimum.at(boxes[:, column], which, low)
        np.maximum.at(boxes[:, column + 2], which, high)
    return _widen(boxes, (labels.shape[0], labels.shape[1])), ids


def _runs(labels: AnyArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and last flat index of every horizontal run of one label: far fewer than there are pixels."""
    begins = np.ones(labels.shape, np.bool_)
    begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], labels.size) - 1
    objects = labels.ravel()[starts] > 0
    return starts[objects], ends[objects]


def _widen(boxes: npt.NDArray[np.int64], image_hw: tuple[int, int]) -> Boxes:
    """Give a box of one column or row an area: grow to the high side, at the image's edge to the low one."""
    for low, high, size in ((0, 2, image_hw[1]), (1, 3, image_hw[0])):
        thin = boxes[:, low] == boxes[:, high]
        at_edge = thin & (boxes[:, high] == size - 1) & (size > 1)
        boxes[:, low] -= at_edge
        boxes[:, high] += thin & ~at_edge
    return boxes.astype(np.float32)


def box_fill(box: npt.ArrayLike, image_hw: tuple[int, int]) -> Mask:
    """Fill a box: the baseline that says how much of a score the prompt alone gives away.

    Args:
        box: Four numbers, inclusive corners. A pixel is inside where its index is.
        image_hw: Height and width of the mask.
    """
    x_min, y_min, x_max, y_max = np.asarray(box, np.float64)
    rows, columns = np.arange(image_hw[0])[:, None], np.arange(image_hw[1])[None]
    inside: Mask = (rows >= y_min) & (rows <= y_max) & (columns >= x_min) & (columns <= x_max)
    return inside


def inscribed_ellipse(box: npt.ArrayLike, image_hw: tuple[int, int]) -> Mask:
    """Fill the ellipse that touches a box's sides: the baseline for round objects.

    Args:
        box: Four numbers, inclusive corners, so the ellipse reaches half a pixel beyond their centres.
        image_hw: Height and width of the mask.
    """
    x_min, y_min, x_max, y_max = np.asarray(box, np.float64)
    rows, columns = np.arange(image_hw[0])[:, None], np.arange(image_hw[1])[None]
    across = (columns - (x_min + x_max) / 2) / ((x_max - x_min + 1) / 2)
    down = (rows - (y_min + y_max) / 2) / ((y_max - y_min + 1) / 2)
    inside: Mask = across**2 + down**2 <= 1
    return inside
