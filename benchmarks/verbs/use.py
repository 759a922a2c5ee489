"""Verbs that draw masks."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import AsJson, Boxes, BoxesFrom, Bundle, DicomSeg, Segments, SeriesUID, State, Window

app = typer.Typer()


@app.command()
def segment(
    bundle: Bundle,
    images: Annotated[
        list[Path],
        typer.Argument(help="PNG, JPEG, TIFF, .npy, challenge .npz, DICOM or a folder of it.", metavar="IMAGE…"),
    ],
    out: Annotated[Path, typer.Option(help="Folder for label maps, overlays and reports.")] = Path("segmented"),
    box: Boxes = None,
    boxes_from: BoxesFrom = None,
    window: Window = None,
    series: SeriesUID = None,
    dicom_seg: DicomSeg = None,
    segments: Segments = None,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, openvino:GPU, …")] = "auto",
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Draw a mask for each box in each image; all boxes of an image share one encoder run.

    Images are 8-bit, gray or RGB; with --window, gray .npy, PNG, TIFF or DICOM of more bits, such as CT in Hounsfield
    units. A slice of a DICOM series is segmented by its own box.

    Example: medsam-edge segment vitb.bundle scan.png --box 95,255,190,350 --out masks
    """
    from ...runtime.loading import load
    from ..console import named, progress, say_cache, show
    from ..segmenting import Wanted, ready
    from ..tables import written_lines

    chosen = named([backend])[0]
    wanted = Wanted(tuple(images), out, tuple(box or ()), boxes_from, window, series, dicom_seg, segments)
    work = ready(wanted, bundle)
    with load(bundle, chosen, state=state) as predictor, progress("segmenting") as report:
        say_cache(predictor.cache)
        tell = lambda done, count: report("", done, count)  # noqa: E731
        results = work(predictor, tell)
    show("segment", results, as_json, lambda: written_lines(results))
