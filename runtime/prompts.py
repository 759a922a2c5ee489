"""Where the boxes of an image come from: a person, a reference mask, or the challenge file itself.

A wrong source gives masks that look right, so two sources at once, an image taken for its own mask, and one mask for
several images are refused. It knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .arrays import ArrayArchive
from .boxes import boxes_from_labels, check_boxes
from .cases import read_case
from .errors import BoxError, ImageError, UsageError
from .files import is_folder, list_folder, open_file, same_file
from .labels import read_labels
from .types import Boxes

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Prompts:
    """The boxes of one image, float32 `(N, 4)`, and the labels that they bound where a label map gave them."""

    boxes: Boxes
    reference_labels: tuple[int, ...] | None = None


def check_sources(images: Sequence[Path], boxes: Sequence[Box], boxes_from: Path | None) -> None:
    """Refuse two sources at once, and one label map for several images.

    Raises:
        UsageError: Naming both sources, or the number of images.
        StorageError: `boxes_from` is not there.
    """
    if boxes_from is None:
        return
    if boxes:
        found = f"{len(boxes)} given as coordinates and more in {boxes_from.name}"
        raise UsageError("boxes from one source", found, "leave out either --box or --boxes-from")
    if len(images) > 1 and not is_folder(boxes_from):
        raise UsageError(
            "a label map for each image",
            f"one for {len(images)} images",
            "name a folder with a label map of the same name for each image",
        )


def prompts_for(path: Path, image_hw: tuple[int, int], boxes: Sequence[Box], boxes_from: Path | None) -> Prompts:
    """Return the boxes of one image from the source that there is: given, reference mask, the .npz itself.

    Raises:
        BoxError: There is no source, or a box that names no region of the image.
        ImageError, UsageError, StorageError: As the readers of the sources.
    """
    if boxes:
        return Prompts(check_boxes(boxes, image_hw))
    if boxes_from is not None:
        return _of_map(_reference(path, boxes_from), image_hw)
    if path.suffix.lower() == ".npz" and _brings_boxes(path):
        return Prompts(check_boxes(read_case(path).boxes, image_hw))
    raise BoxError(
        f"at least one box for {path.name}",
        "none",
        "add --box x_min,y_min,x_max,y_max in pixels of the image, or --boxes-from with a reference mask",
    )


def _of_map(path: Path, image_hw: tuple[int, int]) -> Prompts:
    labels = read_labels(path)
    if labels.shape != image_hw:
        raise ImageError(
            f"a label map of {image_hw[0]} x {image_hw[1]} pixels (height x width) like its image",
            f"{labels.shape[0]} x {labels.shape[1]} in {path}",
            "name the reference mask of this very image",
        )
    boxes, origins = boxes_from_labels(labels)
    if not len(boxes):
        raise BoxError(f"an object in {path}", "background only", "leave the image out, or give boxes with --box")
    return Prompts(boxes, tuple(int(origin) for origin in origins))


def _reference(path: Path, boxes_from: Path) -> Path:
    if not is_folder(boxes_from):
        return _not_itself(path, boxes_from)
    found = [one for one in list_folder(boxes_from) if one.stem == path.stem and one.is_file()]
    if len(found) == 1:
        return _not_itself(path, found[0])
    raise UsageError(
        f"one label map named {path.stem}.* in {boxes_from}",
        ", ".join(one.name for one in found) or "none",
        "name each reference mask as its image",
    )


def _not_itself(path: Path, reference: Path) -> Path:
    # An .npz holds image and labels under different keys; anything else would read grey values as labels.
    if path.suffix.lower() != ".npz" and same_file(path, reference):
        remedy = "put the label maps into a folder of their own"
        raise UsageError(f"a label map of {path.name}", "the image itself", remedy)
    return reference


def _brings_boxes(path: Path) -> bool:
    with open_file(path) as stream:
        return bool({"boxes", "gts"} & set(ArrayArchive(stream).names))
