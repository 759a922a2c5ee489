"""Verbs that measure, prove and show."""

from pathlib import Path
from typing import Annotated

import typer

from ...runtime.errors import ExitCode
from .. import options
from ..options import AsJson, Backends, Baseline, Bundle, State

app = typer.Typer()


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
    from ...runtime.bundle import open_bundle
    from ..cases import cases_for
    from ..console import named, progress, show
    from ..tables import verify_tables
    from ..verification import source_answer
    from ..verification import verify as run

    backends, opened = named(backend), open_bundle(bundle)
    answer = source_answer(source, opened.manifest) if source else None
    with progress("verifying") as report:
        result = run(opened, backends, cases_for(cases, split, phantoms), answer, report)
    show("verify", result, as_json, lambda: verify_tables(result))
    if not result.passed:
        raise typer.Exit(ExitCode.PARITY)


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
    from ...runtime.bundle import open_bundle
    from ..bench import bench as run
    from ..bench_tables import bench_tables
    from ..console import named, progress, show
    from ..rounds import Plan

    backends, opened = named(backend), open_bundle(bundle)
    others = [open_bundle(path) for path in against or []]
    with progress("measuring") as report:
        result = run(opened, backends, Plan(rounds or None), baseline is not None, source, others, report)
    show("bench", result, as_json, lambda: bench_tables(result))


@app.command()
def accept(
    bundle: Bundle,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend", help="As for `verify`, or tensorrt. Default: all here, and tensorrt where it can run."
        ),
    ] = None,
    state: State = None,
    out: Annotated[Path, typer.Option(help="Folder for acceptance.json and acceptance.md.")] = Path("acceptance"),
    rounds: options.Rounds = "auto",  # type: ignore[assignment] # parsed like what a person types
    signed_by: Annotated[str, typer.Option("--by", help="Who signs the record; stands in it as typed.")] = "",
    as_json: AsJson = False,
) -> None:
    """Try a bundle on the device that will run it, and write one record: passed or failed, backend by backend.

    Builds the TensorRT engines that are missing, draws the bundle's golden cases, measures. Needs no PyTorch
    and no ONNX. A backend that was named and cannot run is a failure; else it is written down as not run.

    Example: medsam-edge accept vitb.bundle --backend tensorrt --by "A. Person"
    """
    from ..acceptance_page import accept_tables
    from ..accepting import Terms
    from ..accepting import accept as run
    from ..console import progress, say, show

    terms = Terms(backend, state, rounds or None, signed_by)
    with progress("accepting") as report:
        result = run(bundle, out, terms, report, say)
    show("accept", result, as_json, lambda: accept_tables(result))
    if result.record.exit_code:
        raise typer.Exit(result.record.exit_code)


@app.command()
def inspect(bundle: Bundle, state: State = None, as_json: AsJson = False) -> None:
    """Check every hash of a bundle and show what is in it, with what `quantize` decided and why.

    With --state, also which compiled models would be used again.
    """
    from ...calibration.document import calibrations
    from ...runtime.bundle import open_bundle
    from ...runtime.stored import bundle_state
    from ..console import show
    from ..inspection import inspected
    from ..tables import inspect_tables, state_tables

    opened = open_bundle(bundle)
    kept = calibrations(opened)
    if state is None:
        show("inspect", inspected(opened, kept), as_json, lambda: inspect_tables(opened, kept))
        return
    found = bundle_state(opened, state)
    show("inspect", inspected(found, kept), as_json, lambda: state_tables(found, kept))


@app.command()
def doctor(
    record: Annotated[
        Path | None, typer.Option(help="Also write the system's files that were read, without identifiers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which backends and extras are here, and the command that installs what is not; on a Jetson, the board.

    Example: medsam-edge doctor --record my-board.json
    """
    from ...runtime.doctor import diagnose
    from ...runtime.engines.board_files import collect
    from ...runtime.files import write_atomic
    from ..console import say, show
    from ..tables import doctor_tables

    if record is not None:
        write_atomic(record, collect())
        say(f"wrote {record}: read it before you give it away")
    found = diagnose()
    show("doctor", found, as_json, lambda: doctor_tables(found))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("demo-output"),
    as_json: AsJson = False,
) -> None:
    """Run the whole path on the packaged checkpoint: export, verify, segment a phantom, measure."""
    from ...runtime.doctor import require_extra
    from ..console import named, say, show

    named(None)
    require_extra("export")
    from ..demo import run_demo
    from ..tables import demo_tables

    result = run_demo(out, say)
    show("demo", result, as_json, lambda: demo_tables(result))
    if not result.verification.passed:
        raise typer.Exit(ExitCode.PARITY)
