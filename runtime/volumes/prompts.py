"""Where the objects of a volume come from: boxes in three dimensions, a box on one slice, labels, the challenge.

Whatever the source, each object becomes one `Prompt` in the pixels of the slices as they are cut. In-plane corners are
inclusive, as those of images are. Knows nothing of models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..boxes import check_boxes
from ..errors import BoxError, VolumeError
from ..types import AnyArray
from .conventions import Convention
from .planes import Slicing
from .volume import Volume, same_place

MAX_OBJECTS = 65535  # labels of a uint16 map
_FORMS = "x_min,y_min,z_min,x_max,y_max,z_max or x_min,y_min,x_max,y_max@slice"


@dataclass(frozen=True)
class VolumeBox:
    """A box as a person gave it.

    Attributes:
        corners: x_min, y_min, z_min, x_max, y_max, z_max in voxels of the file (i, j, k), z_max as the convention means
            it; or, with `on_slice`, x_min, y_min, x_max, y_max in pixels of that slice as it is cut.
        on_slice: The slice of a box on one slice, from 0; None for a box in three dimensions.
    """

    corners: tuple[float, ...]
    on_slice: int | None = None


@dataclass(frozen=True)
class Prompt:
    """One object: its box, the slice that it starts from, and how far it may reach, all in the slices as they are cut.

    Attributes:
        box: x_min, y_min, x_max, y_max in pixels of a slice.
        start: The slice that the box is for.
        first: The first slice that may hold the object.
        last: The last.
        label: The label of the reference that it came from, or None.
    """

    box: tuple[float, float, float, float]
    start: int
    first: int
    last: int
    label: int | None = None


def parse_volume_box(text: str) -> VolumeBox:
    """Read a box from the command line: `x_min,y_min,z_min,x_max,y_max,z_max`, or `x_min,y_min,x_max,y_max@slice`.

    Raises:
        BoxError: It is neither. Whether it fits the volume is `prompts_from_boxes`' to say.
    """
    numbers, at, where = text.partition("@")
    try:
        corners = tuple(float(part) for part in numbers.split(","))
        on_slice = int(where) if at else None
    except ValueError:
        corners, on_slice = (), None
    if len(corners) != (4 if at else 6) or not all(map(math.isfinite, corners)):
        raise BoxError(f"a box “{_FORMS}”", f"“{text[:60]}”", "write it like 10,20,5,110,95,30 or 10,20,110,95@17")
    return VolumeBox(corners, on_slice)


def prompts_from_boxes(
    boxes: Sequence[VolumeBox], shape: tuple[int, int, int], slicing: Slicing, convention: Convention
) -> tuple[Prompt, ...]:
    """Turn boxes into prompts.

    Args:
        boxes: At least one.
        shape: D, H, W of the volume.
        slicing: How it is cut.
        convention: What z_max means.

    Raises:
        BoxError: None or too many, a box without extent, one outside the volume; the first bad one is named.
    """
    if not boxes:
        raise BoxError("at least one box", "none", f"give {_FORMS}, or labels to take boxes from")
    _check_count(len(boxes))
    return tuple(_prompt(box, index, shape, slicing, convention) for index, box in enumerate(boxes, start=1))


def prompts_from_array(
    boxes: npt.ArrayLike, shape: tuple[int, int, int], slicing: Slicing, convention: Convention
) -> tuple[Prompt, ...]:
    """As `prompts_from_boxes`, for `(N, 6)` numbers as the challenge's `boxes` are."""
    rows = np.asarray(boxes, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 6:
        raise BoxError("boxes (N, 6)", f"shape {rows.shape}", "give x_min, y_min, z_min, x_max, y_max, z_max of each")
    return prompts_from_boxes([VolumeBox(tuple(row.tolist())) for row in rows], shape, slicing, convention)


def prompts_from_labels(labels: Volume, volume: Volume, slicing: Slicing, convention: Convention) -> tuple[Prompt, ...]:
    """Take the tight box of each label, in ascending order; an object starts from the middle of its slices.

    Args:
        labels: Whole numbers, 0 for the background, as `read_label_volume` gives them.
        volume: What they are the labels of.
        slicing: How it is cut.
        convention: Which slice is the middle.

    Raises:
        VolumeError: Another shape, or another place in space.
        BoxError: Nothing but background, or too many labels.
    """
    if labels.shape != volume.shape:
        found = f"{labels.shape} beside {volume.shape}"
        raise VolumeError("labels of the shape (D, H, W) of their volume", found, "name the labels of this very volume")
    if not same_place(volume.geometry, labels.geometry, volume.shape):
        remedy = "resample the labels onto this volume"
        raise VolumeError("labels that lie where their volume lies", "an affine that puts them elsewhere", remedy)
    view = slicing.view(labels.voxels)
    ids, low, high = _extents(view)
    if not len(ids):
        raise BoxError("an object in the labels", "background only", "give boxes with --box")
    _check_count(len(ids))
    image_hw = (view.shape[1], view.shape[2])
    return tuple(_tight(*one, image_hw, convention) for one in zip(ids, low, high, strict=True))


def _check_count(count: int) -> None:
    if count > MAX_OBJECTS:
        raise BoxError(f"at most {MAX_OBJECTS} objects", f"{count}", "segment them in parts")


def _tight(label: np.int64, low: AnyArray, high: AnyArray, image_hw: tuple[int, int], convention: Convention) -> Prompt:
    first, last = int(low[0]), int(high[0])
    box = _with_area(low, high, image_hw)
    return Prompt(box, convention.middle_of(first, last), first, last, int(label))


def _with_area(low: AnyArray, high: AnyArray, image_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box of (slice, row, column) corners; one pixel wide it has no area, and is widened as those of images are."""
    sides = []
    for axis, size in ((2, image_hw[1]), (1, image_hw[0])):  # x, then y
        least, most = float(low[axis]), float(high[axis])
        thin_at_edge = least == most >= size - 1 and size > 1
        sides.append((least - thin_at_edge, most + (least == most and not thin_at_edge)))
    (x_min, x_max), (y_min, y_max) = sides
    return x_min, y_min, x_max, y_max


def _extents(view: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The labels `(N,)`, and the smallest and largest (slice, row, column) of each `(N, 3)`, in one pass."""
    found: dict[int, tuple[AnyArray, AnyArray]] = {}
    for index, plane in enumerate(view):
        rows, columns = np.nonzero(plane)
        ids, which = np.unique(plane[rows, columns].astype(np.int64), return_inverse=True)
        low = np.full((len(ids), 3), np.iinfo(np.int64).max)
        high = np.full((len(ids), 3), -1)
        low[:, 0] = high[:, 0] = index
        for axis, places in ((1, rows), (2, columns)):
            np.minimum.at(low[:, axis], which, places)
            np.maximum.at(high[:, axis], which, places)
        for row, label in enumerate(ids.tolist()):
            before = found.get(label, (low[row], high[row]))
            found[label] = (np.minimum(before[0], low[row]), np.maximum(before[1], high[row]))
    ordered = sorted(found)
    lows, highs = [found[label][0] for label in ordered], [found[label][1] for label in ordered]
    return np.array(ordered, np.int64), np.array(lows), np.array(highs)


def _prompt(
    box: VolumeBox, number: int, shape: tuple[int, int, int], slicing: Slicing, convention: Convention
) -> Prompt:
    depth, height, width = (shape[axis] for axis in slicing.axes)
    if box.on_slice is not None:
        if not 0 <= box.on_slice < depth:
            found = f"slice {box.on_slice} for box {number}"
            raise BoxError(f"a slice from 0 to {depth - 1}", found, "count slices from 0, as they are cut")
        return Prompt(_checked(box.corners, number, (height, width)), box.on_slice, 0, depth - 1)
    x_min, y_min, x_max, y_max = _checked(box.corners[:2] + box.corners[3:5], number, shape[1:])
    z_min, z_max = _whole_slices(box.corners[2], box.corners[5], number, shape[0], convention)
    low, high = slicing.box_in_view(np.array([z_min, y_min, x_min]), np.array([z_max, y_max, x_max]), shape)
    # A corner may lie on the far edge, one past the last index; turned round, that is one before the first.
    low, first, last = np.maximum(low, 0), math.floor(max(low[0], 0)), min(math.ceil(high[0]), depth - 1)
    return Prompt(_with_area(low, high, (height, width)), convention.middle_of(first, last), first, last)


def _checked(corners: tuple[float, ...], number: int, image_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    try:
        ((x_min, y_min, x_max, y_max),) = check_boxes([corners], image_hw).tolist()
    except BoxError as error:
        raise BoxError(error.expected, f"{error.found}, for box {number}", error.remedy) from error
    return x_min, y_min, x_max, y_max


def _whole_slices(z_min: float, z_max: float, number: int, depth: int, convention: Convention) -> tuple[int, int]:
    """First and last slice of a box that has whole slices inside the volume."""
    whole = all(math.isfinite(one) and one == int(one) for one in (z_min, z_max))
    last = convention.last_of(int(z_max)) if whole else -1
    if not whole or not 0 <= z_min <= last < depth:
        meaning = "inclusive" if convention.z_max_inclusive else "exclusive"
        raise BoxError(
            f"whole slices z_min to z_max from 0 to {depth - 1} ({convention.name}: z_max is {meaning})",
            f"z {z_min:g} to {z_max:g} of box {number}",
            "give slices of this volume, counted from 0",
        )
    return int(z_min), last
