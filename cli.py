"""The command line: one short command per verb. Parse, call one function, print; everything heavy loads inside."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer
from medsam_edge import __version__
from medsam_edge.benchmarks.verbs import make, prove, use
from medsam_edge.runtime.errors import DeviceMemoryError, ExitCode, MedSAMEdgeError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a MedSAM checkpoint to verified masks on an edge device.",
    epilog="Exit codes: 0 ok, 2 usage, 3 environment, 4 parity, 5 speed, 6 artefact, 7 memory, 8 measurement.",
)

for verbs in (make, use, prove):
    app.add_typer(verbs.app)


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
