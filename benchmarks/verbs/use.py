"""Verbs that draw masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import AfterEmpty, AsJson, Bundle, Convention, Levels, Modality, Resume, Slicing, State

if TYPE_CHECKING:
    from ..segmenting import Wanted

app = typer.Typer()


@app.command()
def segment(
    bundle: Bundle,
    images: Annotated[
        list[Path],
        typer.Argument(help="PNG, JPEG, TIFF, .npy, NIfTI, NRRD or challenge .npz.", metavar="IMAGE…"),
    ],
    out: Annotated[Path, typer.Option(help="Folder for label maps, overlays and reports.")] = Path("segmented"),
    box: Annotated[
        list[str] | None,
        typer.Option(help="x_min,y_min,x_max,y_max in pixels; of a volume with z_min, z_max, or @SLICE. Repeat."),
    ] = None,
    boxes_from: Annotated[
        Path | None,
        typer.Option(help="Take boxes from a label map, or a folder with one per image. An .npz may bring its own."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="For gray of more than 8 bits: abdomen, lung, brain, mediastinum, mr, or CENTER,WIDTH."),
    ] = None,
    slices: Slicing = "acquisition",
    convention: Convention = None,
    after_empty: AfterEmpty = "stop",
    modality: Modality = None,
    levels: Levels = "volume",
    resume: Resume = True,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime, openvino, openvino:GPU, …")] = "auto",
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Draw a mask for each box in each image or volume; all boxes of an image or a slice share one encoder run.

    Images are 8-bit, gray or RGB; with --window, gray of more bits, such as CT in Hounsfield units. In a volume each
    object is followed from its middle slice outwards; the result lies where the volume lies.

    Example: medsam-edge segment vitb.bundle scan.png --box 95,255,190,350 --out masks
    """
    from ..segmenting import Wanted

    volume = (slices, convention, after_empty, modality, levels, resume)
    _segment(Wanted(tuple(images), out, tuple(box or ()), boxes_from, window, *volume), bundle, backend, state, as_json)


def _segment(wanted: "Wanted", bundle: Path, backend: str, state: Path | None, as_json: bool) -> None:
    from ...runtime.loading import load
    from ..console import named, progress, say_cache, show
    from ..segmenting import parsed, segmented
    from ..tables import written_lines

    chosen = named([backend])[0]
    request = parsed(wanted)
    with load(bundle, chosen, state=state) as predictor, progress("segmenting") as report:
        say_cache(predictor.cache)
        results = segmented(predictor, request, report)
    show("segment", results, as_json, lambda: written_lines(results))
