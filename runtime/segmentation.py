"""The `segment` verb: image files in; label maps, overlays and a JSON about each out.

Many boxes share one embedding. The files of an image are written together or not at all; a second run overwrites the
first. It knows nothing of how a person names boxes on a command line.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .arrays import ArrayArchive
from .boxes import boxes_from_labels, check_boxes
from .cases import read_case
from .errors import BoxError, ImageError, UsageError
from .files import list_folder, make_folder, open_file, write_together
from .images import read_image
from .labels import read_labels
from .outputs import json_bytes, label_map, overlay, png_bytes, segs_npz_bytes
from .predictor import Prediction, Predictor
from .types import Boxes, Image

RESULT_SCHEMA = "medsam-edge/segmented-image/1"


@dataclass(frozen=True)
class Written:
    """One segmented image: how many objects, how long, and the files."""

    image: str
    objects: int
    total_ms: float
    labels: str
    overlay: str
    report: str
    segs: str | None


def segment_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    boxes: Sequence[tuple[float, float, float, float]] = (),
    boxes_from: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Iterator[Written]:
    """Segment images one after another.

    Args:
        predictor: The opened bundle.
        images: Image files.
        out: Folder for the results; made if it is not there.
        boxes: Boxes for every image, in its pixels. Empty: see `boxes_from`.
        boxes_from: A label map, or a folder with one of the same stem for each image. None, and no `boxes`: an .npz
            brings its own.
        progress: Told the images done and how many there are.

    Raises:
        UsageError: If two images would write the same files, or there is no box for an image.
        ImageError, BoxError, StorageError: As their readers and writers say.
    """
    _check_distinct(images)
    for done, path in enumerate(images):
        progress(done, len(images))
        image = read_image(path)
        image_hw = (image.shape[0], image.shape[1])
        prompts = check_boxes(boxes_for(path, image_hw, boxes, boxes_from), image_hw)
        prediction = predictor.segment(image, prompts)
        yield write_results(path, image, prompts, prediction, out)
    progress(len(images), len(images))


def boxes_for(
    path: Path,
    image_hw: tuple[int, int],
    boxes: Sequence[tuple[float, float, float, float]],
    boxes_from: Path | None,
) -> npt.ArrayLike:
    """Return the boxes of one image from the first source that there is: given, reference mask, the .npz itself."""
    if boxes:
        return boxes
    if boxes_from is not None:
        return _boxes_of_map(_reference(path, boxes_from), image_hw)
    if path.suffix.lower() == ".npz" and _brings_boxes(path):
        return read_case(path).boxes
    raise BoxError(
        f"at least one box for {path.name}",
        "none",
        "add --box x_min,y_min,x_max,y_max in pixels of the image, or --boxes-from with a reference mask",
    )


def write_results(path: Path, image: Image, boxes: Boxes, prediction: Prediction, out: Path) -> Written:
    """Write the label map, the overlay, the report and, for an .npz, the challenge's `segs` file: all or none."""
    labels = label_map(prediction.masks)
    contents = {
        "labels": (f"{path.stem}_labels.png", png_bytes(labels)),
        "overlay": (f"{path.stem}_overlay.png", png_bytes(overlay(image, prediction.masks, boxes))),
    }
    if path.suffix.lower() == ".npz":
        contents["segs"] = (f"{path.stem}_segs.npz", segs_npz_bytes(labels))
    names = {kind: name for kind, (name, _) in contents.items()}
    report = json_bytes(_report(path, image, boxes, prediction, names))
    contents["report"] = (f"{path.stem}.json", report)
    make_folder(out)
    write_together({out / name: data for name, data in contents.values()})
    files = {kind: str(out / name) for kind, (name, _) in contents.items()}
    total = round(prediction.timings.total_ms, 3)
    return Written(str(path), len(boxes), total, files["labels"], files["overlay"], files["report"], files.get("segs"))


def _report(path: Path, image: Image, boxes: Boxes, prediction: Prediction, files: dict[str, str]) -> dict[str, object]:
    return {
        "schema": RESULT_SCHEMA,
        "image": {
            "file": path.name,
            "height": image.shape[0],
            "width": image.shape[1],
            "pixels_sha256": hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(),
        },
        "objects": [
            {
                "label": index + 1,
                "box": [float(side) for side in box],
                "pixels": int(mask.sum()),
                "iou_prediction": float(iou),
            }
            for index, (box, mask, iou) in enumerate(
                zip(boxes, prediction.masks, prediction.iou_predictions[:, 0], strict=True)
            )
        ],
        "timings": asdict(prediction.timings),
        "served_by": asdict(prediction.served_by),
        "files": files,
    }


def _check_distinct(images: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in images:
        if path.stem in seen:
            raise UsageError(
                "images with different names, because results are named after them",
                f"{seen[path.stem]} and {path}",
                "rename one, or run them into different --out folders",
            )
        seen[path.stem] = path


def _boxes_of_map(path: Path, image_hw: tuple[int, int]) -> Boxes:
    labels = read_labels(path)
    if labels.shape != image_hw:
        raise ImageError(
            f"a label map of {image_hw[0]} x {image_hw[1]} pixels (height x width) like its image",
            f"{labels.shape[0]} x {labels.shape[1]} in {path}",
            "name the reference mask of this very image",
        )
    boxes, _ = boxes_from_labels(labels)
    if not len(boxes):
        raise BoxError(f"an object in {path}", "background only", "leave the image out, or give boxes with --box")
    return boxes


def _reference(path: Path, boxes_from: Path) -> Path:
    if not boxes_from.is_dir():
        return boxes_from
    found = [one for one in list_folder(boxes_from) if one.stem == path.stem and one.is_file()]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"one label map named {path.stem}.* in {boxes_from}",
        ", ".join(one.name for one in found) or "none",
        "name each reference mask as its image",
    )


def _brings_boxes(path: Path) -> bool:
    with open_file(path) as stream:
        return bool({"boxes", "gts"} & set(ArrayArchive(stream).names))
