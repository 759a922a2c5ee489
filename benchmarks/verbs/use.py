"""Verbs that draw masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import (
    AfterEmpty,
    AsJson,
    Boxes,
    BoxesFrom,
    Bundle,
    Convention,
    DicomSeg,
    Levels,
    Modality,
    Resume,
    Segments,
    SeriesUID,
    Slicing,
    State,
    Window,
)

if TYPE_CHECKING:
    from ..segmenting import Wanted

app = typer.Typer()


@app.command()
def segment(
    bundle: Bundle,
    images: Annotated[
        list[Path],
        typer.Argument(help="PNG, JPEG, TIFF, .npy, NIfTI, NRRD, challenge .npz, DICOM.", metavar="IMAGE…"),
    ],
    out: Annotated[Path, typer.Option(help="Folder for label maps, overlays and reports.")] = Path("segmented"),
    box: Boxes = None,
    boxes_from: BoxesFrom = None,
    window: Window = None,
    slices: Slicing = "acquisition",
    convention: Convention = None,
    after_empty: AfterEmpty = "stop",
    modality: Modality = None,
    levels: Levels = "volume",
    resume: Resume = True,
    series: SeriesUID = None,
    dicom_seg: DicomSeg = None,
    segments: Segments = None,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, openvino:GPU, …")] = "auto",
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Draw a mask for each box in each image or volume; all boxes of an image or a slice share one encoder run.

    Images are 8-bit, gray or RGB; with --window, gray of more bits, such as CT in Hounsfield units. In a volume each
    object is followed from its middle slice outwards; the result lies where the volume lies. A slice of a DICOM series
    is segmented by its own box.

    Example: medsam-edge segment vitb.bundle scan.png --box 95,255,190,350 --out masks
    """
    from ..segmenting import Wanted

    volume, dicom = (slices, convention, after_empty, modality, levels, resume), (series, dicom_seg, segments)
    wanted = Wanted(tuple(images), out, tuple(box or ()), boxes_from, window, *volume, *dicom)
    _segment(wanted, bundle, backend, state, as_json)


def _segment(wanted: "Wanted", bundle: Path, backend: str, state: Path | None, as_json: bool) -> None:
    from ...runtime.loading import load
    from ..console import named, progress, say_cache, show
    from ..segmenting import ready
    from ..tables import written_lines

    chosen = named([backend])[0]
    work = ready(wanted, bundle)
    with load(bundle, chosen, state=state) as predictor, progress("segmenting") as report:
        say_cache(predictor.cache)
        results = work(predictor, report)
    show("segment", results, as_json, lambda: written_lines(results))
