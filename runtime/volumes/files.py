"""The `segment` verb for volumes: files in; a label volume, a montage and a JSON about each out.

    <name>_seg.nii.gz (.nrrd, .npz as the input)    <name>_overlay.png    <name>_report.json
    <name>.journal while it runs

The three results are written together or not at all. The journal stays after a run that was killed or cancelled, and
the same command goes on from it. Knows nothing of how a person names boxes on a command line.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import BoxError, UsageError
from ..files import is_folder, list_folder, make_folder, same_file, write_together
from ..outputs import json_bytes, png_bytes
from ..predictor import Predictor, ServedBy
from ..windows import AppliedWindow
from .challenge import read_challenge_boxes
from .journal import Journal
from .montage import montage
from .prompts import Prompt, VolumeBox, prompts_from_array, prompts_from_boxes, prompts_from_labels
from .reading import read_label_volume, read_volume, stem_of
from .report import volume_report
from .segmenting import Prepared, SegmentedVolume, VolumeOptions, journal_key, prepare, segment_volume


@dataclass(frozen=True)
class Request:
    """What a person wants of each volume.

    Attributes:
        out: Folder for the results; made if it is not there.
        boxes: Boxes for every volume. Empty: see `boxes_from`.
        boxes_from: A label volume, or a folder with one of the same name for each volume. None, and no `boxes`: an .npz
            brings its own.
        modality: "CT", "MR", "PET"; None takes what the file or its name says.
        resume: Whether to keep a journal, and to go on from one.
        options: How to segment.
    """

    out: Path
    boxes: tuple[VolumeBox, ...] = ()
    boxes_from: Path | None = None
    modality: str | None = None
    resume: bool = True
    options: VolumeOptions = field(default_factory=VolumeOptions)


@dataclass(frozen=True)
class WrittenVolume:
    """One segmented volume: its objects, the labels whose mask is empty, how long, by what, files, window, slicing."""

    volume: str
    objects: int
    empty: tuple[int, ...]
    slices_encoded: int
    visits_resumed: int
    total_ms: float
    served_by: ServedBy
    labels: str
    overlay: str
    report: str
    slicing: str
    convention: str
    window: AppliedWindow | None = None


def segment_volume_files(
    predictor: Predictor,
    paths: Sequence[Path],
    request: Request,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
    cancel: threading.Event | None = None,
) -> Iterator[WrittenVolume]:
    """Segment volumes one after another.

    Args:
        predictor: The opened bundle.
        paths: .nii, .nii.gz, .nrrd, or 3D .npz.
        request: Where boxes come from, and where results go.
        progress: Told the volume's name, the visits of slices done, and how many there are at most.
        cancel: Once it is set, the work stops before the next slice.

    Raises:
        UsageError: Two volumes would write the same files, a result would replace an input, boxes have two sources.
        VolumeError, BoxError, StorageError, MissingExtraError: As readers and writers say.
        CancelledError: `cancel` was set.
    """
    _check_distinct(paths)
    _check_sources(paths, request)
    for path in paths:
        yield _segment_one(predictor, path, request, partial(progress, path.name), cancel)


def _segment_one(
    predictor: Predictor,
    path: Path,
    request: Request,
    progress: Callable[[int, int], None],
    cancel: threading.Event | None,
) -> WrittenVolume:
    volume = read_volume(path, request.modality)
    prepared = prepare(volume, predictor, request.options)
    prompts = _prompts(path, prepared, request)
    names = _names(path, volume.form.suffix)
    _check_inputs_survive(path, request, names)
    make_folder(request.out)
    if not request.resume:
        found = segment_volume(predictor, prepared, prompts, None, progress, cancel)
        return _write(predictor, path, prepared, prompts, found, request.out, names)
    key = journal_key(predictor, prepared, prompts)
    with Journal(request.out / f"{stem_of(path)}.journal", key) as journal:
        found = segment_volume(predictor, prepared, prompts, journal, progress, cancel)
        written = _write(predictor, path, prepared, prompts, found, request.out, names)
        journal.remove()
    return written


def _names(path: Path, suffix: str) -> dict[str, str]:
    stem = stem_of(path)
    return {"labels": f"{stem}_seg{suffix}", "overlay": f"{stem}_overlay.png", "report": f"{stem}_report.json"}


def _prompts(path: Path, prepared: Prepared, request: Request) -> tuple[Prompt, ...]:
    volume, how = prepared.volume, (prepared.slicing, prepared.convention)
    if request.boxes:
        return prompts_from_boxes(request.boxes, volume.shape, *how)
    if request.boxes_from is not None:
        return prompts_from_labels(read_label_volume(_reference(path, request.boxes_from)), volume, *how)
    if path.name.lower().endswith(".npz"):
        boxes = read_challenge_boxes(path)
        if boxes is not None:
            return prompts_from_array(boxes, volume.shape, *how)
    remedy = "add --box x_min,y_min,z_min,x_max,y_max,z_max in voxels, or --boxes-from with a label volume"
    raise BoxError(f"at least one box for {path.name}", "none", remedy)


def _write(
    predictor: Predictor,
    path: Path,
    prepared: Prepared,
    prompts: Sequence[Prompt],
    found: SegmentedVolume,
    out: Path,
    names: dict[str, str],
) -> WrittenVolume:
    """Write all three files, none of them before the bytes of all are on the disk."""
    volume, view = prepared.volume, prepared.slicing.view(found.labels)
    contents = {
        "labels": volume.form.encode(found.labels),
        "overlay": png_bytes(montage(prepared.slices, view, prompts)),
        "report": json_bytes(volume_report(predictor, path, prepared, prompts, found, names)),
    }
    write_together({out / names[kind]: data for kind, data in contents.items()})
    files = {kind: str(out / name) for kind, name in names.items()}
    return WrittenVolume(
        volume=str(path),
        objects=len(prompts),
        empty=tuple((np.flatnonzero(found.voxels == 0) + 1).tolist()),
        slices_encoded=found.encoded,
        visits_resumed=found.resumed,
        total_ms=round(found.total_ms, 3),
        served_by=predictor.served_by,
        slicing=prepared.slicing.name,
        convention=prepared.convention.name,
        window=prepared.slices.applied,
        **files,
    )


def _reference(path: Path, boxes_from: Path) -> Path:
    """The label volume of a volume: the file itself, or the one of that name, or with `_seg` behind it, in a folder."""
    found = [boxes_from]
    if is_folder(boxes_from):
        wanted = (stem_of(path), f"{stem_of(path)}_seg")
        found = [one for one in list_folder(boxes_from) if stem_of(one) in wanted and not same_file(one, path)]
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise UsageError(f"one label volume of {path.name} in {boxes_from}", names, "name it as its volume")
    if same_file(path, found[0]) and not path.name.lower().endswith(".npz"):
        raise UsageError(f"a label volume of {path.name}", "the volume itself", "name its labels")
    return found[0]


def _check_sources(paths: Sequence[Path], request: Request) -> None:
    if request.boxes and request.boxes_from is not None:
        found = f"{len(request.boxes)} given as coordinates and more in {request.boxes_from.name}"
        raise UsageError("boxes from one source", found, "leave out either --box or --boxes-from")
    if request.boxes_from is not None and len(paths) > 1 and not is_folder(request.boxes_from):
        remedy = "name a folder with labels of the same name for each volume"
        raise UsageError("labels for each volume", f"one file for {len(paths)} volumes", remedy)


def _check_distinct(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        before = seen.setdefault(stem_of(path), path)
        if before is not path:
            expected = "volumes with different names, because results are named after them"
            raise UsageError(expected, f"{before} and {path}", "rename one, or use different --out folders")


def _check_inputs_survive(path: Path, request: Request, names: dict[str, str]) -> None:
    reference = [_reference(path, request.boxes_from)] if request.boxes_from is not None else []
    for one in (path, *reference):
        if one.name in names.values() and same_file(one.parent, request.out):
            raise UsageError(f"results beside {one.name}, not over it", f"--out {request.out}", "choose another --out")
