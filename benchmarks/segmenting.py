"""What `segment` does with its arguments: pictures to the one half of the runtime, DICOM to the other.

The content decides which, not the suffix. Texts are read before a model is opened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..runtime.boxes import parse_box
from ..runtime.bundle import open_unhashed
from ..runtime.dicom.magic import is_dicom
from ..runtime.doctor import require_extra
from ..runtime.errors import UsageError
from ..runtime.predictor import Predictor
from ..runtime.segmentation import Written, segment_files
from ..runtime.windows import parse_window

Tell = Callable[[int, int], None]
Work = Callable[[Predictor, Tell], list[Written]]


@dataclass(frozen=True)
class Wanted:
    """The arguments of `segment`, as a person typed them."""

    images: tuple[Path, ...]
    out: Path
    box: tuple[str, ...] = ()
    boxes_from: Path | None = None
    window: str | None = None
    series: str | None = None
    dicom_seg: str | None = None
    segments: Path | None = None


def ready(wanted: Wanted, bundle: Path) -> Work:
    """Parse the arguments and return what is left to do with an open model.

    Raises:
        UsageError, BoxError: A text that is not what it should be; pictures and DICOM at once; options that only DICOM
            has, for pictures.
        MissingExtraError: DICOM without the extra `dicom`.
    """
    dicom = [path for path in wanted.images if is_dicom(path)]
    if dicom and len(dicom) < len(wanted.images):
        other = next(path for path in wanted.images if path not in dicom)
        found = f"{dicom[0]} and {other}"
        raise UsageError("either DICOM or pictures", found, "segment them by two commands")
    if dicom:
        return _dicom(wanted, bundle)
    options = {"--series": wanted.series, "--dicom-seg": wanted.dicom_seg, "--segments": wanted.segments}
    if given := [name for name, value in options.items() if value is not None]:
        found = f"{given[0]} for pictures"
        raise UsageError(f"DICOM images for {given[0]}", found, "leave it out, or name DICOM files")
    return _pictures(wanted)


def _pictures(wanted: Wanted) -> Work:
    boxes = [parse_box(text) for text in wanted.box]
    window = parse_window(wanted.window) if wanted.window is not None else None

    def work(predictor: Predictor, tell: Tell) -> list[Written]:
        return list(segment_files(predictor, wanted.images, wanted.out, boxes, wanted.boxes_from, tell, window))

    return work


def _dicom(wanted: Wanted, bundle: Path) -> Work:
    require_extra("dicom")
    from ..runtime.dicom.requests import parse_request
    from ..runtime.dicom.segmenting import check_distinct, segment_dicom

    check_distinct(wanted.images)
    read = partial(parse_request, wanted.out, wanted.box, wanted.boxes_from, wanted.window)
    model = open_unhashed(bundle).manifest.model.name
    request = read(wanted.series, wanted.dicom_seg, wanted.segments, model)

    def work(predictor: Predictor, tell: Tell) -> list[Written]:
        found: list[Written] = []
        for path in wanted.images:
            found += segment_dicom(predictor, path, request, tell)
        return found

    return work
