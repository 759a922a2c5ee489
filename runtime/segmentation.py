"""The `segment` verb: image files in; label maps, overlays and a JSON about each out.

Many boxes share one embedding. The files of an image are written together or not at all; a second run overwrites the
first. It knows nothing of how a person names boxes on a command line.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .errors import ImageError, UsageError
from .files import is_folder, list_folder, make_folder, same_file, write_together
from .images import read_image
from .outputs import json_bytes, label_map, overlay, png_bytes, segs_npz_bytes
from .predictor import Prediction, Predictor, ServedBy
from .prompts import Box, Prompts, check_sources, prompts_for
from .raw_images import read_raw
from .types import AnyArray, Image
from .windows import AppliedWindow, Window, apply_window

RESULTS = ("_labels.png", "_overlay.png", "_segs.npz", "_report.json")
RESULT_SCHEMA = "medsam-edge/segmented-image/1"


@dataclass(frozen=True)
class Written:
    """One segmented image: how many boxes, the labels whose mask is empty, how long, by what, files, window if any.

    `dicom_seg` is the SEG that this image's masks went into, if one was written.
    """

    image: str
    objects: int
    empty: tuple[int, ...]
    total_ms: float
    served_by: ServedBy
    labels: str
    overlay: str
    report: str
    segs: str | None
    window: AppliedWindow | None = None
    dicom_seg: str | None = None


def segment_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    boxes: Sequence[Box] = (),
    boxes_from: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    window: Window | None = None,
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
        window: Turns gray images of more than 8 bits into 8; None takes 8-bit images only.

    Raises:
        UsageError: If two images would write the same files, a result would replace an input, or boxes come from two
            sources.
        ImageError, BoxError, StorageError: As their readers and writers say.
    """
    _check_distinct(images)
    check_sources(images, boxes, boxes_from)
    _check_inputs_survive(images, boxes_from, out)
    for done, path in enumerate(images):
        progress(done, len(images))
        image, applied = _read(path, window)
        image_hw = (image.shape[0], image.shape[1])
        prompts = prompts_for(path, image_hw, boxes, boxes_from)
        prediction = predictor.segment(image, prompts.boxes)
        yield write_results(path, image, prompts, prediction, out, applied)
    progress(len(images), len(images))


def _read(path: Path, window: Window | None) -> tuple[Image, AppliedWindow | None]:
    if window is None:
        return read_image(path), None
    values = read_raw(path)
    try:
        return apply_window(window, values)
    except ImageError as error:
        raise ImageError(error.expected, f"{error.found} in {path}", error.remedy) from error


def write_results(
    path: Path,
    image: Image,
    prompts: Prompts,
    prediction: Prediction,
    out: Path,
    window: AppliedWindow | None = None,
    details: Mapping[str, object] | None = None,
) -> Written:
    """Write the label map, the overlay, the report and, for an .npz, the challenge's `segs` file.

    None is put in place before the bytes of all are on the disk; the report comes last. `details` are added to it.
    """
    labels = label_map(prediction.masks)
    contents = {
        "labels": (f"{path.stem}_labels.png", png_bytes(labels)),
        "overlay": (f"{path.stem}_overlay.png", png_bytes(overlay(image, prediction.masks, prompts.boxes))),
    }
    if path.suffix.lower() == ".npz":
        contents["segs"] = (f"{path.stem}_segs.npz", segs_npz_bytes(labels))
    names = {kind: name for kind, (name, _) in contents.items()}
    shown = {"window": asdict(window) if window else None, **(details or {})}
    report = json_bytes(_report(path, image, prompts, prediction, labels, names) | shown)
    contents["report"] = (f"{path.stem}_report.json", report)
    make_folder(out)
    write_together({out / name: data for name, data in contents.values()})
    files = {kind: str(out / name) for kind, (name, _) in contents.items()}
    total = round(prediction.timings.total_ms, 3)
    return Written(
        image=str(path),
        objects=len(prompts.boxes),
        empty=tuple(index + 1 for index, mask in enumerate(prediction.masks) if not mask.any()),
        total_ms=total,
        served_by=prediction.served_by,
        labels=files["labels"],
        overlay=files["overlay"],
        report=files["report"],
        segs=files.get("segs"),
        window=window,
    )


def _report(
    path: Path, image: Image, prompts: Prompts, prediction: Prediction, labels: AnyArray, files: dict[str, str]
) -> dict[str, object]:
    kept = np.bincount(labels.ravel(), minlength=len(prompts.boxes) + 1)
    origins = prompts.reference_labels or (None,) * len(prompts.boxes)
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
                "label": label,
                "reference_label": origin,
                "box": [float(side) for side in box],
                "pixels": int(mask.sum()),
                "pixels_in_label_map": int(kept[label]),  # fewer where a later object lies over this one
                "iou_prediction": float(iou),
            }
            for label, origin, box, mask, iou in zip(
                range(1, len(prompts.boxes) + 1),
                origins,
                prompts.boxes,
                prediction.masks,
                prediction.iou_predictions[:, 0],
                strict=True,
            )
        ],
        "timings": {**asdict(prediction.timings), "total_ms": prediction.timings.total_ms},
        "served_by": asdict(prediction.served_by),
        "files": files,
    }


def _check_inputs_survive(images: Sequence[Path], boxes_from: Path | None, out: Path) -> None:
    """Refuse to replace what a person brought: an image or a reference mask that is named as a result would be."""
    folder = boxes_from is not None and is_folder(boxes_from)
    given = [*images, *(list_folder(boxes_from) if folder and boxes_from else [boxes_from] if boxes_from else [])]
    results = {f"{path.stem}{ending}" for path in images for ending in RESULTS}
    for path in given:
        if path.name in results and same_file(path.parent, out):
            raise UsageError(f"results beside {path.name}, not over it", f"--out {out}", "choose another --out folder")


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
