"""The command line: one short command per verb. Parse, call one function, print; everything heavy loads inside."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from medsam_edge import __version__
from medsam_edge.benchmarks import options
from medsam_edge.benchmarks.options import AsJson, Backends, Baseline, Bundle, Form, ProfileName, State, Targets
from medsam_edge.runtime.errors import DeviceMemoryError, ExitCode, MedSAMEdgeError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a MedSAM checkpoint to verified masks on an edge device.",
    epilog="Exit codes: 0 ok, 2 usage, 3 environment, 4 parity, 5 speed, 6 artefact, 7 memory, 8 measurement.",
)


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
    from medsam_edge.benchmarks.console import named, say, show
    from medsam_edge.runtime.doctor import require_extra

    named(None)
    require_extra("export")
    from medsam_edge.benchmarks.cases import golden_cases
    from medsam_edge.benchmarks.tables import export_tables
    from medsam_edge.export.pipeline import export_bundle
    from medsam_edge.export.random_weights import chosen
    from medsam_edge.export.variants import DEFAULT_TARGETS

    source, cases = chosen(checkpoint, random_weights), golden_cases(trained=random_weights is None)
    result = export_bundle(source, out, cases, profile, say, target or DEFAULT_TARGETS, form)
    show("export", result, as_json, lambda: export_tables(result))


@app.command()
def verify(
    bundle: Bundle,
    cases: Annotated[Path | None, typer.Option(help="Challenge .npz cases: a folder, a csv list or one.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of the folder's cases.csv.")] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Add this many synthetic cases.")] = 0,
    source: Annotated[str | None, typer.Option(help="The checkpoint, to compare its masks on every case too.")] = None,
    backend: Backends = None,
    as_json: AsJson = False,
) -> None:
    """Prove that a bundle still draws its checkpoint's masks; exit 4 if it does not.

    Four layers: the embedding against the checkpoint's; the masks against the checkpoint's; the masks against reference
    masks, beside the filled box and the ellipse; and what needs no reference: many boxes at once equal one by one, two
    runs agree, nothing is NaN or constant.

    Example: medsam-edge verify vitb.bundle --source medsam_vit_b.pth --phantoms 50
    """
    from medsam_edge.benchmarks.cases import cases_for
    from medsam_edge.benchmarks.console import named, progress, show
    from medsam_edge.benchmarks.tables import verify_tables
    from medsam_edge.benchmarks.verification import source_answer
    from medsam_edge.benchmarks.verification import verify as run
    from medsam_edge.runtime.bundle import open_bundle

    backends, opened = named(backend), open_bundle(bundle)
    answer = source_answer(source, opened.manifest) if source else None
    with progress("verifying") as report:
        result = run(opened, backends, cases_for(cases, split, phantoms), answer, report)
    show("verify", result, as_json, lambda: verify_tables(result))
    if not result.passed:
        raise typer.Exit(ExitCode.PARITY)


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
    from medsam_edge.benchmarks.console import named, progress, say_cache, show
    from medsam_edge.benchmarks.tables import written_lines
    from medsam_edge.runtime.boxes import parse_box
    from medsam_edge.runtime.loading import load
    from medsam_edge.runtime.segmentation import segment_files
    from medsam_edge.runtime.windows import parse_window

    chosen = named([backend])[0]
    boxes, shown = [parse_box(text) for text in box or []], parse_window(window) if window is not None else None
    with load(bundle, chosen, state=state) as predictor, progress("segmenting") as report:
        say_cache(predictor.cache)
        tell = lambda done, count: report("", done, count)  # noqa: E731
        results = list(segment_files(predictor, images, out, boxes, boxes_from, tell, shown))
    show("segment", results, as_json, lambda: written_lines(results))


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
    as_json: AsJson = False,
) -> None:
    """Find the cheapest precision that keeps the masks, and add it to the bundle; exit 4 if none does, 5 if none pays.

    Example: medsam-edge quantize vitb.bundle --cases my_cases --max-dsc-drop 0.005
    """
    from medsam_edge.benchmarks.console import show
    from medsam_edge.runtime.doctor import require_extra

    require_extra("calibrate")
    from medsam_edge.benchmarks.quantize_tables import quantize_tables
    from medsam_edge.benchmarks.quantizing import quantize_bundle
    from medsam_edge.calibration.outcome import exit_code
    from medsam_edge.calibration.plan import Plan
    from medsam_edge.calibration.scores import Limits
    from medsam_edge.calibration.three_sets import Counts, Sources

    counts = Counts(calibration_cases, selection_cases, evaluation_cases)
    sources = Sources(cases, evaluation, split, evaluation_split, counts, seed)
    result = quantize_bundle(
        bundle, sources, Plan(target, precision, Limits(max_dsc_drop, worst_dsc_drop), margin), work
    )
    show("quantize", result, as_json, lambda: quantize_tables(result))
    raise typer.Exit(exit_code(result))


@app.command()
def bench(
    bundle: Bundle,
    rounds: options.Rounds = "auto",  # type: ignore[assignment] # parsed like what a person types
    backend: Backends = None,
    baseline: Annotated[
        Baseline | None, typer.Option(help="Run this too, as the authors do: torch, eager, with and without tuning.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The checkpoint, for --baseline; not needed for random weights and the demo.")
    ] = None,
    against: options.Against = None,
    as_json: AsJson = False,
) -> None:
    """Measure latency, start and memory of every backend, interleaved, with mask parity in the same table.

    End to end is preprocessing, encoder, decoder for one box and the mask in the image's pixels, without files.
    Each candidate has a process of its own. With --baseline and --against come ratios; see docs/performance.md.

    Example: medsam-edge bench vitb.bundle --baseline torch --source medsam_vit_b.pth
    """
    from medsam_edge.benchmarks.bench import bench as run
    from medsam_edge.benchmarks.bench_tables import bench_tables
    from medsam_edge.benchmarks.console import named, progress, show
    from medsam_edge.benchmarks.rounds import Plan
    from medsam_edge.runtime.bundle import open_bundle

    backends, opened = named(backend), open_bundle(bundle)
    others = [open_bundle(path) for path in against or []]
    with progress("measuring") as report:
        result = run(opened, backends, Plan(rounds or None), baseline is not None, source, others, report)
    show("bench", result, as_json, lambda: bench_tables(result))


@app.command()
def inspect(bundle: Bundle, state: State = None, as_json: AsJson = False) -> None:
    """Check every hash of a bundle and show what is in it; with --state, which compiled models would be used again."""
    from medsam_edge.benchmarks.console import show
    from medsam_edge.benchmarks.tables import inspect_tables, state_tables
    from medsam_edge.runtime.bundle import open_bundle
    from medsam_edge.runtime.stored import bundle_state

    opened = open_bundle(bundle)
    if state is None:
        show("inspect", opened, as_json, lambda: inspect_tables(opened))
        return
    found = bundle_state(opened, state)
    show("inspect", found, as_json, lambda: state_tables(found))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show which backends and extras are here, and the command that installs what is not."""
    from medsam_edge.benchmarks.console import show
    from medsam_edge.benchmarks.tables import doctor_tables
    from medsam_edge.runtime.doctor import diagnose

    found = diagnose()
    show("doctor", found, as_json, lambda: doctor_tables(found))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("demo-output"),
    as_json: AsJson = False,
) -> None:
    """Run the whole path on the packaged checkpoint: export, verify, segment a phantom, measure."""
    from medsam_edge.benchmarks.console import named, say, show
    from medsam_edge.runtime.doctor import require_extra

    named(None)
    require_extra("export")
    from medsam_edge.benchmarks.demo import run_demo
    from medsam_edge.benchmarks.tables import demo_tables

    result = run_demo(out, say)
    show("demo", result, as_json, lambda: demo_tables(result))
    if not result.verification.passed:
        raise typer.Exit(ExitCode.PARITY)


def version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        print(f"medsam-edge {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From a MedSAM checkpoint to verified masks on an edge device."""


def main() -> None:
    """Run the command line; an error of ours is one line and its exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        app(prog_name="medsam-edge")
    except SystemExit as stop:
        if stop.code == ExitCode.USAGE and "--json" in sys.argv:  # the parser explained itself to people only
            fail(UsageError("arguments that can be parsed", "see standard error", "read `medsam-edge VERB --help`"))
        raise
    except MedSAMEdgeError as error:
        fail(error)
    except MemoryError:
        fail(DeviceMemoryError("enough memory", "the system refused to give more", "use fewer boxes or smaller images"))


def fail(error: MedSAMEdgeError) -> None:
    """Explain an error and leave with its exit code."""
    from medsam_edge.benchmarks.console import explain

    explain(error, "--json" in sys.argv)
    raise SystemExit(int(error.exit_code))


if __name__ == "__main__":
    main()
