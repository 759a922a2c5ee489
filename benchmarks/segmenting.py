"""What `segment` does with its arguments: pictures, volumes and DICOM each to their part of the runtime.

The content decides what is DICOM, not the suffix. Texts are read before a model is opened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from ..runtime.boxes import parse_box
from ..runtime.bundle import open_unhashed
from ..runtime.dicom.magic import is_dicom
from ..runtime.doctor import require_extra
from ..runtime.errors import UsageError
from ..runtime.predictor import Predictor
from ..runtime.segmentation import Written, segment_files
from ..runtime.volumes.conventions import check_after_empty
from ..runtime.volumes.files import Request, WrittenVolume, segment_volume_files
from ..runtime.volumes.prompts import parse_volume_box
from ..runtime.volumes.reading import is_volume
from ..runtime.volumes.segmenting import VolumeOptions
from ..runtime.windows import parse_window
from .console import Report

Work: TypeAlias = Callable[[Predictor, Report], list[Written | WrittenVolume]]


@dataclass(frozen=True)
class Wanted:
    """The arguments of `segment`, as a person typed them."""

    paths: tuple[Path, ...]
    out: Path
    box: tuple[str, ...] = ()
    boxes_from: Path | None = None
    window: str | None = None
    slices: str = "acquisition"
    convention: str | None = None
    after_empty: str = "stop"
    modality: str | None = None
    levels: str = "volume"
    resume: bool = True
    series: str | None = None
    dicom_seg: str | None = None
    segments: Path | None = None


def ready(wanted: Wanted, bundle: Path) -> Work:
    """Parse the arguments and return what is left to do with an open model.

    Raises:
        UsageError, BoxError: A text that is not what it should be; DICOM and others at once; options that only DICOM
            has, for others.
        MissingExtraError: DICOM without the extra `dicom`.
        StorageError: An .npz that is missing or may not be read.
    """
    dicom = [path for path in wanted.paths if is_dicom(path)]
    if dicom and len(dicom) < len(wanted.paths):
        other = next(path for path in wanted.paths if path not in dicom)
        found = f"{dicom[0]} and {other}"
        raise UsageError("either DICOM or other images", found, "segment them by two commands")
    if dicom:
        return _dicom(wanted, bundle)
    options = {"--series": wanted.series, "--dicom-seg": wanted.dicom_seg, "--segments": wanted.segments}
    if given := [name for name, value in options.items() if value is not None]:
        found = f"{given[0]} for other images"
        raise UsageError(f"DICOM images for {given[0]}", found, "leave it out, or name DICOM files")
    return _pictures_and_volumes(wanted)


def _pictures_and_volumes(wanted: Wanted) -> Work:
    volumes = tuple(path for path in wanted.paths if is_volume(path))
    images = tuple(path for path in wanted.paths if path not in volumes)
    window = parse_window(wanted.window) if wanted.window is not None else None
    request = _volume_request(wanted, bool(volumes))
    boxes = tuple(parse_box(text) for text in wanted.box) if images else ()

    def work(predictor: Predictor, report: Report) -> list[Written | WrittenVolume]:
        found: list[Written | WrittenVolume] = []
        if images:
            tell = partial(report, "")
            found += segment_files(predictor, images, wanted.out, boxes, wanted.boxes_from, tell, window)
        if volumes:
            found += segment_volume_files(predictor, volumes, request, report)
        return found

    return work


def _volume_request(wanted: Wanted, volumes: bool) -> Request:
    check_after_empty(wanted.after_empty)
    return Request(
        out=wanted.out,
        boxes=tuple(parse_volume_box(text) for text in wanted.box) if volumes else (),
        boxes_from=wanted.boxes_from,
        modality=wanted.modality,
        resume=wanted.resume,
        options=VolumeOptions(
            slicing=wanted.slices,
            convention=wanted.convention,
            after_empty=wanted.after_empty,
            window=parse_window(wanted.window) if wanted.window is not None else None,
            scope=wanted.levels,
        ),
    )


def _dicom(wanted: Wanted, bundle: Path) -> Work:
    require_extra("dicom")
    from ..runtime.dicom.requests import parse_request
    from ..runtime.dicom.segmenting import check_distinct, segment_dicom

    check_distinct(wanted.paths)
    read = partial(parse_request, wanted.out, wanted.box, wanted.boxes_from, wanted.window)
    model = open_unhashed(bundle).manifest.model.name
    request = read(wanted.series, wanted.dicom_seg, wanted.segments, model)

    def work(predictor: Predictor, report: Report) -> list[Written | WrittenVolume]:
        found: list[Written | WrittenVolume] = []
        for path in wanted.paths:
            found += segment_dicom(predictor, path, request, partial(report, ""))
        return found

    return work
