"""What the command line does besides parsing: JSON or tables, progress, and errors as one line.

Results go to standard output, everything else to standard error, so that `--json` can be piped.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ..runtime.backends.choose import available, resolve
from ..runtime.errors import MedSAMEdgeError, StorageError
from ..runtime.schema import to_plain
from ..runtime.state import CacheStatus

Report = Callable[[str, int, int], None]
Say = Callable[[str], None]
# Of those verbs whose JSON has changed its shape since the first version.
_VERSIONS = {"bench": 2, "demo": 2, "doctor": 2}


def show(verb: str, result: object, as_json: bool, tables: Callable[[], RenderableType]) -> None:
    """Print a result: one JSON document with a versioned schema, or tables."""
    with standard_output():
        if as_json:
            print(json.dumps(_document(verb, result), indent=2, ensure_ascii=False), flush=True)
            return
        shown = tables()
        # Not markup: `pip install 'medsam-edge[ort]'` is not a style.
        print(shown, flush=True) if isinstance(shown, str) else Console(markup=False).print(shown)


@contextmanager
def standard_output() -> Iterator[None]:
    """Turn a full disk behind standard output into an error of ours; a closed pipe stays what it is.

    Raises:
        StorageError: If standard output takes no more.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails once more
        remedy = "free some space where standard output goes"
        raise StorageError("standard output that takes the result", str(error.strerror), remedy) from error


def _document(verb: str, result: object) -> dict[str, object]:
    body = to_plain(result)
    return {
        "schema": f"medsam-edge/{verb}/{_VERSIONS.get(verb, 1)}",
        **(body if isinstance(body, dict) else {"results": body}),
    }


def say(step: str) -> None:
    """Tell a person which step has begun."""
    print(f"· {step}", file=sys.stderr, flush=True)


def say_cache(cache: Mapping[str, CacheStatus]) -> None:
    """Tell what the next start would want to know: what was compiled anew, and what could not be kept."""
    for part, status in cache.items():
        if status.reason or status.unsaved or status.outcome == "built":
            say(f"{part}: compiled model {status}")


@contextmanager
def progress(verb: str) -> Iterator[Report]:
    """Show a bar on standard error while work goes on; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal  # else it would leave an empty line in a log
    with Progress(*columns, TextColumn("{task.description}"), console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, count: bar.update(task, completed=done, total=count, description=what)


def explain(error: MedSAMEdgeError, as_json: bool) -> None:
    """Print an error as one line on standard error, and as JSON on standard output where that was asked for."""
    print(f"medsam-edge: {error}", file=sys.stderr)
    if as_json:
        parts = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
        head = {
            "schema": "medsam-edge/error/1",
            "error": type(error).__name__,
            "exit_code": int(error.exit_code),
        }
        print(json.dumps({**head, **parts}, indent=2, ensure_ascii=False))


def named(backends: Sequence[str] | None) -> list[str]:
    """Return the backends a person asked for, or all that are here.

    Raises:
        MissingExtraError: If one is not installed, or none is.
    """
    if not backends:
        resolve("auto")  # raises where there is none
        return list(available())
    return list(dict.fromkeys(str(resolve(name)) for name in backends))
