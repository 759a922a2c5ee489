"""What `segment` does with its arguments: images to the one half of the runtime, volumes to the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.boxes import parse_box
from ..runtime.predictor import Predictor
from ..runtime.segmentation import Written, segment_files
from ..runtime.volumes.conventions import check_after_empty
from ..runtime.volumes.files import Request, WrittenVolume, segment_volume_files
from ..runtime.volumes.prompts import parse_volume_box
from ..runtime.volumes.reading import is_volume
from ..runtime.volumes.segmenting import VolumeOptions
from ..runtime.windows import Window, parse_window
from .console import Report


@dataclass(frozen=True)
class Wanted:
    """The arguments of `segment`, as a person typed them, and which paths are volumes."""

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


@dataclass(frozen=True)
class Parsed:
    """The same, parsed."""

    images: tuple[Path, ...]
    volumes: tuple[Path, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    window: Window | None
    boxes_from: Path | None
    out: Path
    request: Request


def parsed(wanted: Wanted) -> Parsed:
    """Read the texts before a model is opened.

    Raises:
        UsageError: A box, window or rule that is none.
        StorageError: An .npz that is missing or may not be read.
    """
    volumes = tuple(path for path in wanted.paths if is_volume(path))
    images = tuple(path for path in wanted.paths if path not in volumes)
    window = parse_window(wanted.window) if wanted.window is not None else None
    check_after_empty(wanted.after_empty)
    request = Request(
        out=wanted.out,
        boxes=tuple(parse_volume_box(text) for text in wanted.box) if volumes else (),
        boxes_from=wanted.boxes_from,
        modality=wanted.modality,
        resume=wanted.resume,
        options=VolumeOptions(
            slicing=wanted.slices,
            convention=wanted.convention,
            after_empty=wanted.after_empty,
            window=window,
            scope=wanted.levels,
        ),
    )
    boxes = tuple(parse_box(text) for text in wanted.box) if images else ()
    return Parsed(images, volumes, boxes, window, wanted.boxes_from, wanted.out, request)


def segmented(predictor: Predictor, one: Parsed, report: Report) -> Sequence[Written | WrittenVolume]:
    """Segment images, then volumes; raises what both raise."""
    found: list[Written | WrittenVolume] = []
    if one.images:
        tell = lambda done, count: report("", done, count)  # noqa: E731
        found += segment_files(predictor, one.images, one.out, one.boxes, one.boxes_from, tell, one.window)
    if one.volumes:
        found += segment_volume_files(predictor, one.volumes, one.request, report)
    return found
