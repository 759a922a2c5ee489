"""The `segment` verb on DICOM: each slice that has a box gets its masks, and all of them together a SEG.

Slices are segmented one by one, each with its own boxes. What is written about them holds no name, no identifier and no
date of a header; the SEG alone carries its source's patient and study, as the standard wants.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ... import __version__
from ..boxes import boxes_from_labels, boxes_from_masks, check_boxes
from ..errors import BoxError, DeviceMemoryError, DicomError, ImageError, UsageError
from ..files import is_folder, make_folder, same_file
from ..labels import read_labels
from ..predictor import MAX_MASK_BYTES, Predictor, ServedBy
from ..prompts import Prompts
from ..segmentation import RESULTS, Written, write_results
from ..types import AnyArray, Masks
from .magic import begins_as_dicom
from .reading import read_series
from .requests import DicomRequest
from .seg_read import read_seg
from .seg_write import write_seg
from .segments import Algorithm, Segment
from .series import Series
from .voi import image_of

_SUFFIXES = (".dcm", ".dicom", ".ima")
_SEG_NAME = "_seg.dcm"


@dataclass(frozen=True, eq=False)
class SlicePrompts:
    """Boxes of one slice, and which object each of them is of, from 0 over the whole series."""

    prompts: Prompts
    objects: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """All boxes of a series by slice, and a name for each object."""

    slices: dict[int, SlicePrompts]
    names: tuple[str, ...]


def segment_dicom(
    predictor: Predictor,
    path: Path,
    request: DicomRequest,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Written]:
    """Segment the slices of a file or folder that have boxes.

    Args:
        predictor: The opened bundle.
        path: A DICOM image, or a folder with a series.
        request: Boxes, window, SEG.
        progress: Told the slices done and how many there are.

    Returns:
        One for each slice with a box, with the SEG's path where one was written: not where every mask is empty.

    Raises:
        DicomError, ImageError, BoxError, UsageError, StorageError, MissingExtraError: As reading and writing say.
        DicomSegError: The SEG does not give the masks back; label maps and reports are there, the SEG is not.
    """
    series = read_series(path, request.series_uid)
    plan = plan_boxes(series, request)
    stem = stem_of(path)
    _check_inputs_survive(path, request, stem, plan)
    results: list[Written] = []
    masks: dict[int, Masks] = {}
    for done, (index, one) in enumerate(plan.slices.items()):
        progress(done, len(plan.slices))
        written, masks[index] = _one_slice(predictor, series, index, one, request, stem)
        results.append(replace(written, image=str(path) if len(series.slices) == 1 else f"{path} slice {index}"))
    progress(len(plan.slices), len(plan.slices))
    seg = _seg(series, plan, masks, predictor, request, stem) if request.seg is not None else None
    return [replace(written, dicom_seg=seg) for written in results]


def _one_slice(
    predictor: Predictor, series: Series, index: int, one: SlicePrompts, request: DicomRequest, stem: str
) -> tuple[Written, Masks]:
    image, window = image_of(series, index, request.window)
    prediction = predictor.segment(image, one.prompts.boxes)
    name = stem if len(series.slices) == 1 else f"{stem}_slice{index:04d}"
    details = {"dicom": describe(series, index)}
    # The suffix is what is cut off to name the results.
    written = write_results(Path(f"{name}.dcm"), image, one.prompts, prediction, request.out, window, details)
    return written, prediction.masks


def stem_of(path: Path) -> str:
    """Return what results are named after: the name that the caller gave, without a suffix that says DICOM."""
    name = Path(path).resolve().name
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in _SUFFIXES else name


def check_distinct(paths: Sequence[Path]) -> None:
    """Refuse two inputs whose results would have the same names.

    Raises:
        UsageError: Naming both.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if (stem := stem_of(path)) in seen:
            found, remedy = f"{seen[stem]} and {path}", "run them into different --out folders"
            raise UsageError("inputs with different names, because results are named after them", found, remedy)
        seen[stem] = path


def describe(series: Series, index: int) -> dict[str, object]:
    """Tell what a report may know of a slice: how it was stored and where it lies."""
    one = series.slice(index)
    pixels = one.file.pixels
    return {
        "modality": series.modality,
        "transfer_syntax": pixels.transfer_syntax,
        "lossy": pixels.lossy,
        "photometric_interpretation": pixels.photometric,
        "inverted": pixels.inverted,
        "bits_stored": pixels.bits_stored,
        "slice": index,
        "slices": len(series.slices),
        "frame": one.frame.number,
        "spacing_mm": list(series.spacing),
        "affine_lps": None if series.affine is None else series.affine.tolist(),
    }


def plan_boxes(series: Series, request: DicomRequest) -> Plan:
    """Find each slice's boxes: as given, from a SEG, or from a label map of the one slice.

    Raises:
        BoxError: A box that lies outside, or names no slice where there are several.
        DicomError, ImageError, StorageError: As the readers of SEG and label map.
    """
    if request.boxes_from is None:
        return _of_boxes(series, request)
    if not is_folder(request.boxes_from) and begins_as_dicom(request.boxes_from):
        return _of_seg(series, request.boxes_from)
    return _of_labels(series, request.boxes_from)


def _of_boxes(series: Series, request: DicomRequest) -> Plan:
    by_slice: dict[int, list[int]] = {}
    for number, one in enumerate(request.boxes):
        if one.on_slice is None and len(series.slices) > 1:
            found = f"box {number + 1} without one, in {len(series.slices)} slices"
            raise BoxError("the slice of each box", found, "write it like 10,20,110,95@17, slices count from 0")
        by_slice.setdefault(_checked(series, one.on_slice or 0), []).append(number)
    slices = {
        index: SlicePrompts(
            Prompts(check_boxes([request.boxes[number].box for number in numbers], series.image_hw)), tuple(numbers)
        )
        for index, numbers in sorted(by_slice.items())
    }
    return Plan(slices, tuple(f"Object {number + 1}" for number in range(len(request.boxes))))


def _checked(series: Series, index: int) -> int:
    series.slice(index)  # raises where there is none
    return index


def _of_seg(series: Series, path: Path) -> Plan:
    found = read_seg(path, series)
    names = {number: label for one in found.values() for number, label in zip(one.numbers, one.labels, strict=True)}
    order = {number: at for at, number in enumerate(sorted(names))}
    slices = {
        index: SlicePrompts(
            Prompts(boxes_from_masks(one.masks), one.numbers), tuple(order[number] for number in one.numbers)
        )
        for index, one in found.items()
    }
    return Plan(slices, tuple(names[number] or f"Object {number}" for number in sorted(names)))


def _of_labels(series: Series, path: Path) -> Plan:
    if len(series.slices) > 1:
        found = f"{path.name} for {len(series.slices)} slices"
        raise UsageError("a DICOM SEG to take a series' boxes from", found, "name a SEG, or give --box …@slice")
    labels = read_labels(path)
    if labels.shape != series.image_hw:
        expected = f"a label map of {series.image_hw[0]} x {series.image_hw[1]} pixels"
        raise ImageError(expected, f"{labels.shape[0]} x {labels.shape[1]} in {path}", "name this image's label map")
    boxes, origins = boxes_from_labels(labels)
    if not len(boxes):
        raise BoxError(f"an object in {path}", "background only", "give boxes with --box")
    numbers = tuple(int(origin) for origin in origins)
    prompts = SlicePrompts(Prompts(boxes, numbers), tuple(range(len(numbers))))
    return Plan({0: prompts}, tuple(f"Object {number}" for number in numbers))


def _check_inputs_survive(path: Path, request: DicomRequest, stem: str, plan: Plan) -> None:
    """Refuse to replace what a person brought."""
    names = [f"{stem}{ending}" for ending in (*RESULTS, _SEG_NAME)]
    names += [f"{stem}_slice{index:04d}{ending}" for index in plan.slices for ending in RESULTS]
    for given in filter(None, (path, request.boxes_from)):
        if any(same_file(given, request.out / name) for name in names):
            found = f"--out {request.out}"
            raise UsageError(f"results beside {given.name}, not over it", found, "choose another --out folder")


def _seg(
    series: Series, plan: Plan, masks: Mapping[int, Masks], predictor: Predictor, request: DicomRequest, stem: str
) -> str | None:
    """Write the SEG; None where there is nothing to write."""
    segments = _segments(plan.names, request.segments)
    if not any(mask.any() for mask in masks.values()):
        return None
    if series.affine is None:  # only one frame can be referred to
        if len(masks) > 1:
            found = f"masks on {len(masks)} frames"
            raise DicomError("masks on one frame, for a SEG of images without places", found, "segment one at a time")
        (index,) = masks
        series, plan, masks = series.only(index), _moved(plan, index), {0: masks[index]}
    joined = join_masks(plan, masks, (len(series.slices), *series.image_hw), overlap=request.seg == "binary")
    make_folder(request.out)
    algorithm = Algorithm(request.model, __version__, _parameters(predictor))
    assert request.seg is not None
    return write_seg(request.out / f"{stem}{_SEG_NAME}", series, joined, segments, algorithm, request.seg).path


def _moved(plan: Plan, index: int) -> Plan:
    return Plan({0: plan.slices[index]}, plan.names)


def join_masks(plan: Plan, masks: Mapping[int, Masks], shape: tuple[int, int, int], overlap: bool) -> AnyArray:
    """Put the masks of slices into one array over the series.

    Args:
        plan: Which object each mask is of.
        masks: Slice index to bool `(n, H, W)`.
        shape: D, H, W.
        overlap: Whether masks that overlap are to be kept apart; otherwise later objects lie over earlier ones.

    Returns:
        Labels uint16 `(D, H, W)`, or bool `(N, D, H, W)` where masks overlap and that is to be kept.

    Raises:
        DeviceMemoryError: The latter would take more than `MAX_MASK_BYTES`.
    """
    if overlap and any((slices.sum(axis=0) > 1).any() for slices in masks.values()):
        size = len(plan.names) * shape[0] * shape[1] * shape[2]
        if size > MAX_MASK_BYTES:
            found = f"{size:,} bytes of masks that overlap"
            raise DeviceMemoryError(f"at most {MAX_MASK_BYTES:,}", found, "write --dicom-seg labelmap")
        apart = np.zeros((len(plan.names), *shape), np.bool_)
        for index, found_masks in masks.items():
            apart[list(plan.slices[index].objects), index] = found_masks
        return apart
    labels = np.zeros(shape, np.uint16)
    for index, found_masks in masks.items():
        for number, mask in zip(plan.slices[index].objects, found_masks, strict=True):
            labels[index][mask] = number + 1
    return labels


def _segments(names: Sequence[str], given: Sequence[Segment]) -> tuple[Segment, ...]:
    if not given:
        return tuple(Segment(name[:64]) for name in names)
    if len(given) != len(names):
        raise UsageError(f"{len(names)} segments described, one for each object", f"{len(given)}", "add or remove some")
    return tuple(given)


def _parameters(predictor: Predictor) -> dict[str, str]:
    """What a SEG says of how its masks came about: enough to find the very graphs."""
    served: ServedBy = predictor.served_by
    graphs = {f"{part}_sha256": digest for part, digest in served.graphs.items()}
    weights = {} if served.trained else {"weights": "random"}
    computed = f"{served.backend} {served.version} {served.device} {served.precision}"
    return {"profile": predictor.profile.name, "served_by": computed, **graphs, **weights}
