"""Phantoms: seeded images with boxes and exact masks, for tests, demos, calibration and the demo checkpoint.

`phantom(seed)` gives the same case on every run with the same numpy and Pillow. Seven modalities, shapes
that neither a filled box nor its ellipse approximates well, contrasts from clear to faint, things without a
box between them. What each modality looks like is in phantom_sections, phantom_projections and
phantom_photographs; this module knows only how a scene becomes a case. Phantoms are not patients: they rank
no model for clinical use.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from ..runtime.errors import CaseError
from ..runtime.types import Boxes, Case, Image, Mask, Masks
from . import phantom_microscopy, phantom_photographs, phantom_projections, phantom_sections
from .phantom_canvas import Canvas
from .phantom_shapes import Field, Shape

Scene = Callable[[np.random.Generator, Shape], Canvas]

_SCENES: dict[str, Scene] = {
    "CT": phantom_sections.ct,
    "MR": phantom_sections.mr,
    "Ultrasound": phantom_projections.ultrasound,
    "X-ray": phantom_projections.xray,
    "Endoscopy": phantom_photographs.endoscopy,
    "Dermoscopy": phantom_photographs.dermoscopy,
    "Microscopy": phantom_microscopy.microscopy,
}
MODALITIES: tuple[str, ...] = tuple(_SCENES)

_MOST_OBJECTS, _MOST_NUCLEI = 6, 16
_LEAST_PIXELS, _LEAST_SIDE, _LARGEST_SHARE = 40, 6, 0.7
_LEAST_CONTRAST, _FAINTEST = 1.6, 0.03  # in noise sigmas, and of the whole range
_SMALLEST_SIDE, _LARGEST_SIDE = 48, 2048  # a smaller picture may never hold an object that counts
_LEAST_VISIBLE = 0.45  # share of an object that may not be covered by later ones


def phantom(seed: int, modality: str | None = None, size: tuple[int, int] | None = None, jitter: float = 0.05) -> Case:
    """One synthetic case, the same for the same arguments.

    Args:
        seed: Any non-negative integer.
        modality: One of `MODALITIES`, or None to go through them with the seed.
        size: Height and width in pixels, or None for mostly 256 x 256 and at times an odd size.
        jitter: Each side of a tight box moves in or out by at most this share of the box's width or height.

    Returns:
        A case with 1 to 6 objects (microscopy: 16). A mask is what later objects leave visible; X-ray layers
        are transparent and may overlap.

    Raises:
        CaseError: If no such modality exists, or a side is below 48 or above 2048 pixels.
    """
    name = MODALITIES[seed % len(MODALITIES)] if modality is None else modality
    if name not in _SCENES:
        raise CaseError(
            f"a modality among {', '.join(MODALITIES)}", f"{name!r}", "choose one of the phantoms' modalities"
        )
    if size is not None and (min(size) < _SMALLEST_SIDE or max(size) > _LARGEST_SIDE):
        raise CaseError(f"sides of {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels", f"{size}", "choose another size")
    rng = np.random.default_rng([seed, MODALITIES.index(name)])
    seeded = _size(rng)
    image, masks = _scene(rng, name, size or seeded)
    return Case(
        id=f"phantom-{name}-{seed:06d}",
        image=image,
        boxes=_boxes(rng, masks, jitter),
        masks=masks,
        modality=name,
        patient=f"phantom-{seed:06d}",
    )


def phantoms(
    count: int,
    first_seed: int = 0,
    modality: str | None = None,
    size: tuple[int, int] | None = None,
    jitter: float = 0.05,
) -> Iterator[Case]:
    """`count` phantoms of consecutive seeds; see `phantom` for the other arguments."""
    for seed in range(first_seed, first_seed + count):
        yield phantom(seed, modality, size, jitter)


def _size(rng: np.random.Generator) -> Shape:
    height, width = rng.integers(180, 361, 2).tolist()
    return (height, width) if rng.random() < 0.25 else (256, 256)


def _scene(rng: np.random.Generator, name: str, size: Shape) -> tuple[Image, Masks]:
    """Paint scenes until one has an object that is large and visible enough; the first nearly always has."""
    while True:
        sheet = _SCENES[name](rng, size)
        masks = _chosen(rng, sheet, _MOST_NUCLEI if name == "Microscopy" else _MOST_OBJECTS)
        if len(masks):
            return _developed(rng, sheet.image), masks


def _chosen(rng: np.random.Generator, sheet: Canvas, most: int) -> Masks:
    wanted = int(rng.integers(most // 2, most + 1))
    order = rng.permutation(len(sheet.objects)).tolist()
    usable = (index for index in order if _usable(sheet, index))
    keep = sorted(islice(usable, wanted))
    return np.array([sheet.objects[index] for index in keep], dtype=bool).reshape(-1, *sheet.shape)


def _usable(sheet: Canvas, index: int) -> bool:
    """Whether enough of an object is left, in pixels and in contrast."""
    mask = sheet.objects[index]
    visible = np.count_nonzero(mask)
    if visible < max(_LEAST_PIXELS, _LEAST_VISIBLE * sheet.areas[index]) or visible > _LARGEST_SHARE * mask.size:
        return False
    x_min, y_min, x_max, y_max = _bounds(mask)
    if min(x_max - x_min, y_max - y_min) + 1 < _LEAST_SIDE:
        return False
    window = ..., slice(max(y_min - 5, 0), y_max + 6), slice(max(x_min - 5, 0), x_max + 6)
    return _stands_out(sheet.image[window], mask[window])


def _stands_out(image: Field, mask: Mask) -> bool:
    """Whether the pixels around an object differ from its mean by more than noise, in any channel."""
    near = mask.copy()
    for step in (1, 2):
        near[step:] |= near[:-step]
        near[:-step] |= near[step:]
        near[:, step:] |= near[:, :-step]
        near[:, :-step] |= near[:, step:]
    around = near & ~mask
    for channel in image.reshape(-1, *mask.shape):
        steps = np.abs(channel[1:] - channel[:-1])
        noise = max(_sigma(steps[part[1:] & part[:-1]]) for part in (mask, around))
        spread = float(np.mean((channel[around] - channel[mask].mean()) ** 2))
        if spread > noise**2 + max(_LEAST_CONTRAST * noise, _FAINTEST) ** 2:
            return True
    return False


def _sigma(steps: Field) -> float:
    """Noise from the absolute differences of neighbours; the median ignores the few that are edges."""
    middle = len(steps) // 2
    return 1.05 * float(np.partition(steps, middle)[middle]) if len(steps) else 0.0


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """First and last column and row of a `(H, W)` mask, as x_min, y_min, x_max, y_max."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _boxes(rng: np.random.Generator, masks: Masks, jitter: float) -> Boxes:
    """Tight boxes whose sides moved a little, inside the image and in order."""
    tight = np.array([_bounds(mask) for mask in masks], dtype=np.float64)
    sides = np.tile(tight[:, 2:] - tight[:, :2], 2)
    moved = tight + rng.uniform(-1, 1, tight.shape) * np.clip(jitter, 0, 0.45) * sides
    height, width = masks.shape[1:]
    boxes: Boxes = np.clip(moved, 0, np.tile([width - 1, height - 1], 2)).astype(np.float32)
    return boxes


def _developed(rng: np.random.Generator, image: Field) -> Image:
    """A random gamma, brightness and gain, then 8 bits and three channels."""
    levels = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.15)))
    levels = np.float32(rng.uniform(0.85, 1.0)) * levels + np.float32(rng.uniform(0.0, 0.04))
    pixels = np.clip(levels * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.stack((pixels, pixels, pixels) if pixels.ndim == 2 else pixels, axis=2)
