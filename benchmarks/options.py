"""Options that several verbs take, as Typer types; apart from the verbs so that those stay short."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Bundle = Annotated[Path, typer.Argument(help="A bundle: the folder that `export` wrote.", metavar="BUNDLE")]
State = Annotated[
    Path | None, typer.Option(help="This device's folder of compiled models, for a faster start.", metavar="DIR")
]
Backends = Annotated[
    list[str] | None,
    typer.Option("--backend", help="onnxruntime, openvino, openvino:GPU, …; repeat for several. Default: all here."),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        help="How images are prepared: medsam, litemedsam, litemedsam-slicer, medsam-hf-wanglab, "
        "medsam-hf-flaviagiammarino. Weights do not say it."
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help="openvino, onnxruntime, tensorrt; repeat for several. Default: the first two."),
]
CaseSource = Annotated[
    str, typer.Option("--cases", help="Cases with masks: a folder, a csv list, an .npz, or phantoms.", metavar="CASES")
]
EvaluationSource = Annotated[
    str | None,
    typer.Option("--evaluation", help="Other cases to judge on. Default: some of --cases, of other patients."),
]
Work = Annotated[
    Path | None, typer.Option(help="Folder that keeps what was computed. Default: BUNDLE.work beside the bundle.")
]
Form = Annotated[
    str | None, typer.Option(help="For measurements: plain, bias, tiled or concat in place of each target's own form.")
]


class Baseline(str, Enum):
    """What a bundle can be measured against."""

    TORCH = "torch"
