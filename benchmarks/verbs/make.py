"""Verbs that make and change bundles."""

from pathlib import Path
from typing import Annotated

import typer

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
    asked = Plan(target, precision, Limits(max_dsc_drop, worst_dsc_drop), margin)
    raise typer.Exit(quantize_and_show(bundle, sources, asked, work, plot, as_json))
