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
Boxes = Annotated[
    list[str] | None,
    typer.Option("--box", help="x_min,y_min,x_max,y_max in pixels; of a volume with z_min, z_max, or @SLICE. Repeat."),
]
BoxesFrom = Annotated[
    Path | None,
    typer.Option(
        help="Take boxes from a label map, a DICOM SEG, or a folder with one per image. An .npz may bring its own."
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        help="For gray of more than 8 bits: abdomen, lung, brain, mediastinum, mr, CENTER,WIDTH; of DICOM also "
        "header, header:2, header:NAME."
    ),
]
SeriesUID = Annotated[
    str | None, typer.Option("--series", help="DICOM: the SeriesInstanceUID to take of several.", metavar="UID")
]
DicomSeg = Annotated[
    str | None, typer.Option(help="DICOM: write a SEG too, binary or labelmap; read back before it leaves.")
]
Segments = Annotated[
    Path | None, typer.Option(help="DICOM: a JSON list with label, category and type of each object.", metavar="JSON")
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
Cases = Annotated[
    str, typer.Option(help="Cases with masks: a folder, a csv list, an .npz, or phantoms.", metavar="CASES")
]
Split = Annotated[str | None, typer.Option(help="Only this split of the cases' csv.")]
Evaluation = Annotated[
    str | None, typer.Option(help="Other cases to judge on. Default: some of --cases, of other patients.")
]
EvaluationSplit = Annotated[str | None, typer.Option(help="The split to judge on.")]
CalibrationCases = Annotated[int, typer.Option(min=1, help="The most cases to find ranges with.")]
SelectionCases = Annotated[int, typer.Option(min=1, help="The most cases to choose blocks by.")]
EvaluationCases = Annotated[int, typer.Option(min=1, help="The most cases to judge on.")]
Precision = Annotated[str, typer.Option(help="auto, int8, int8+bf16 or bf16.")]
Target = Annotated[str, typer.Option(help="openvino or onnxruntime, on this machine.")]
MaxDscDrop = Annotated[float, typer.Option(help="Most that the mean DSC may drop: the end of its 95 % interval.")]
WorstDscDrop = Annotated[float, typer.Option(help="Most that the worst modality may lose, likewise.")]
MinP5Parity = Annotated[
    float, typer.Option(help="Least 5th percentile of DSC with the float32 masks: the end of its interval.")
]
MaxLowMasks = Annotated[
    float, typer.Option(help="Largest share of masks below 0.9 of DSC with float32's: the end of its interval.")
]
Margin = Annotated[float, typer.Option(help="Times as fast as the next wider precision that it has to be.")]
Seed = Annotated[int, typer.Option(min=0, help="What cases and prompts are drawn with.")]
Work = Annotated[
    Path | None, typer.Option(help="Keeps what was computed, to go on from. Default: BUNDLE.work beside the bundle.")
]
Plot = Annotated[
    Path | None,
    typer.Option(help="A picture of the front, .svg or .png; needs the extra plot. Default: front.svg in --work."),
]
Form = Annotated[
    str | None, typer.Option(help="For measurements: plain, bias, tiled or concat in place of each target's own form.")
]


Engine = Annotated[str, typer.Option("--backend", help="What engines are built for: tensorrt.")]
EnginePrecision = Annotated[
    str, typer.Option("--precision", help="auto (the cheapest that is there), fp16, int8 or fp32.")
]
MaxBoxes = Annotated[int, typer.Option(min=1, help="Boxes of one decoder call; at most 8 on boards of 8 GB.")]
Workspace = Annotated[str, typer.Option(help="auto, or the most that an operator may take, such as 2GiB.")]
OptLevel = Annotated[int, typer.Option(min=0, max=5, help="The builder's effort: 5 searches longest.")]
Flavour = Annotated[str, typer.Option(help="enterprise, or rtx: TensorRT for RTX PCs, which needs no GPU to build.")]
Capabilities = Annotated[
    list[str] | None,
    typer.Option("--for", help="With rtx: a compute capability such as 8.6 instead of this GPU's; repeat for more."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the calls of trtexec that would do the same.")]


class Baseline(str, Enum):
    """What a bundle can be measured against."""

    TORCH = "torch"


def rounds_from_text(text: str) -> int:
    """Read `--rounds`: a number, or `auto`, which is 0."""
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise typer.BadParameter(f"{text!r} is neither auto nor a number from 1 on")
    return 0 if text == "auto" else int(text)


Rounds = Annotated[
    int,
    typer.Option(
        parser=rounds_from_text, metavar="auto|N", help="Timed rounds. auto: about five minutes, 5 to 100 rounds."
    ),
]
Against = Annotated[
    list[Path] | None,
    typer.Option(help="Another bundle of the same checkpoint and profile; repeat for more.", metavar="BUNDLE"),
]
Slicing = Annotated[
    str,
    typer.Option(
        "--slices", help="Of a volume: acquisition (as stored), axial, coronal or sagittal.", metavar="SLICES"
    ),
]
Convention = Annotated[
    str | None,
    typer.Option(help="What 3D boxes mean: litemedsam, daft or medficientsam. Default: the profile's."),
]
AfterEmpty = Annotated[
    str, typer.Option(help="Behind a slice without a mask: stop, or first-box, as the published loops do.")
]
Modality = Annotated[str | None, typer.Option(help="Of a volume, for its window: CT, MR or PET.")]
Levels = Annotated[str, typer.Option(help="Whose grey levels a window spreads: volume or slice.")]
Resume = Annotated[bool, typer.Option(help="Keep a journal beside the results of a volume, and go on from it.")]
