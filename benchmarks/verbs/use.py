"""Verbs that draw masks."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import AsJson, Bundle, State

app = typer.Typer()


@app.command()
def segment(
    bundle: Bundle,
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG, TIFF, .npy or challenge .npz.", metavar="IMAGE…")],
    out: Annotated[Path, typer.Option(help="Folder for label maps, overlays and reports.")] = Path("segmented"),
    box: Annotated[list[str] | None, typer.Option(help="x_min,y_min,x_max,y_max in pixels; repeat for more.")] = None,
    boxes_from: Annotated[
        Path | None,
        typer.Option(
            help="Take boxes from a label map, or a folder with one per image. An .npz with boxes needs none."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="For gray of more than 8 bits: abdomen, lung, brain, mediastinum, mr, or CENTER,WIDTH."),
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, openvino:GPU, …")] = "auto",
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Draw a mask for each box in each image; all boxes of an image share one encoder run.

    Images are 8-bit, gray or RGB; with --window, gray .npy, PNG or TIFF of more bits, such as CT in Hounsfield units.

    Example: medsam-edge segment vitb.bundle scan.png --box 95,255,190,350 --out masks
    """
    from ...runtime.boxes import parse_box
    from ...runtime.loading import load
    from ...runtime.segmentation import segment_files
    from ...runtime.windows import parse_window
    from ..console import named, progress, say_cache, show
    from ..tables import written_lines

    chosen = named([backend])[0]
    boxes, shown = [parse_box(text) for text in box or []], parse_window(window) if window is not None else None
    with load(bundle, chosen, state=state) as predictor, progress("segmenting") as report:
        say_cache(predictor.cache)
        tell = lambda done, count: report("", done, count)  # noqa: E731
        results = list(segment_files(predictor, images, out, boxes, boxes_from, tell, shown))
    show("segment", results, as_json, lambda: written_lines(results))
