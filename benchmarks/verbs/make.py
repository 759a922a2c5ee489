"""Verbs that make and change bundles."""

from pathlib import Path
from typing import Annotated

import typer

from ...runtime.errors import ExitCode
from .. import options
from ..options import AsJson, Bundle, Form, ProfileName, Targets

app = typer.Typer()


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The bundle's folder: new, empty, or a bundle to replace.")],
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="A .pth, .safetensors, SamModel folder, or the word `demo`.", metavar="CHECKPOINT"),
    ] = None,
    random_weights: Annotated[
        str | None, typer.Option(help="Instead of a checkpoint: random weights of this ARCH, for latency only.")
    ] = None,
    profile: ProfileName = None,
    target: Targets = None,
    form: Form = None,
    as_json: AsJson = False,
) -> None:
    """Turn a checkpoint into a bundle, and write it only if it draws the checkpoint's masks.

    Example: medsam-edge export medsam_vit_b.pth --profile medsam --out vitb.bundle
    """
    from ...runtime.doctor import require_extra
    from ..console import named, say, show

    named(None)
    require_extra("export")
    from ...export.pipeline import export_bundle
    from ...export.random_weights import chosen
    from ...export.variants import DEFAULT_TARGETS
    from ..cases import golden_cases
    from ..tables import export_tables

    source, cases = chosen(checkpoint, random_weights), golden_cases(trained=random_weights is None)
    result = export_bundle(source, out, cases, profile, say, target or DEFAULT_TARGETS, form)
    show("export", result, as_json, lambda: export_tables(result))


@app.command()
def quantize(
    bundle: Bundle,
    cases: options.Cases = "phantoms",
    split: options.Split = None,
    evaluation: options.Evaluation = None,
    evaluation_split: options.EvaluationSplit = None,
    calibration_cases: options.CalibrationCases = 32,
    selection_cases: options.SelectionCases = 16,
    evaluation_cases: options.EvaluationCases = 100,
    precision: options.Precision = "auto",
    target: options.Target = "openvino",
    max_dsc_drop: options.MaxDscDrop = 0.005,
    worst_dsc_drop: options.WorstDscDrop = 0.02,
    min_p5_parity: options.MinP5Parity = 0.95,
    max_low_masks: options.MaxLowMasks = 0.02,
    margin: options.Margin = 1.1,
    seed: options.Seed = 0,
    work: options.Work = None,
    plot: options.Plot = None,
    as_json: AsJson = False,
) -> None:
    """Find the cheapest precision that keeps the masks, and add it to the bundle; exit 4 if none does, 5 if none pays.

    Example: medsam-edge quantize vitb.bundle --cases my_cases --max-dsc-drop 0.005
    """
    from ...runtime.doctor import require_extra
    from ..drawing import check_plot

    require_extra("calibrate")
    check_plot(plot)
    from ...calibration.plan import Plan
    from ...calibration.scores import Limits
    from ...calibration.three_sets import Counts, Sources
    from ..quantizing import quantize_and_show

    counts = Counts(calibration_cases, selection_cases, evaluation_cases)
    sources = Sources(cases, evaluation, split, evaluation_split, counts, seed)
    limits = Limits(max_dsc_drop, worst_dsc_drop, min_p5_parity, max_low_masks)
    asked = Plan(target, precision, limits, margin)
    raise typer.Exit(quantize_and_show(bundle, sources, asked, work, plot, as_json))


@app.command()
def build(
    bundle: Bundle,
    backend: options.Engine = "tensorrt",
    precision: options.EnginePrecision = "auto",
    max_boxes: options.MaxBoxes = 16,
    workspace: options.Workspace = "auto",
    opt_level: options.OptLevel = 3,
    flavour: options.Flavour = "enterprise",
    capabilities: options.Capabilities = None,
    state: options.State = None,
    dry_run: options.DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build TensorRT engines on the device that runs them, and hold their masks against the bundle's.

    Exit 4 if they do not compute or draw what was asked for, 7 if memory runs out.

    Example: medsam-edge build vitb.bundle --backend tensorrt --precision fp16
    """
    from ...runtime.engines.build import Request
    from ..building import build_bundle, dry_run_lines, passed
    from ..building_tables import build_tables
    from ..console import progress, say, show

    asked = Request(precision, flavour, max_boxes, workspace, opt_level, tuple(capabilities or ()))
    if dry_run:
        lines = dry_run_lines(bundle, backend, asked)
        show("build", {"commands": lines}, as_json, lambda: "\n\n".join(lines))
        return
    with progress("building") as report:
        result = build_bundle(bundle, backend, asked, state, report, say)
    show("build", result, as_json, lambda: build_tables(result))
    if not passed(result):
        raise typer.Exit(ExitCode.PARITY)
