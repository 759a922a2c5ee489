"""The parent of a build: starts the child, passes its progress on, and makes an answer of whatever becomes of it.

A child that runs out of memory, by its own word or because the system killed it, is followed by another with less, down
a ladder; one that crashes is reported. Nothing is kept of a build that did not end well.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BackendError, DeviceMemoryError, MachineError, MedSAMEdgeError, WorkspaceError
from ..files import temporary_file, write_atomic
from ..schema import from_json, to_json
from .builder import Order
from .engine_file import EngineFacts
from .listeners import Step
from .options import MIB, BuildOptions, ladder
from .worker import error_from

COMMAND = (sys.executable, "-m", "medsam_edge.runtime.engines.worker")
_TAIL_BYTES = 4096
Say = Callable[[str], None]


class _KilledError(Exception):
    """The system ended the child, which systems do where memory runs out; it does not leave this file."""

    found = "the system killed the build"


def build_watched(order: Order, step: Step, say: Say, command: Sequence[str] = COMMAND) -> EngineFacts:
    """Build one engine in a child, with smaller limits where memory runs out.

    Args:
        order: What to build; the engine lies in `order.out` afterwards.
        step: Told of the builder's progress.
        say: Told of each further attempt.
        command: The program of the child.

    Raises:
        WorkspaceError: The workspace is too small for an operator.
        DeviceMemoryError: It ran out of memory in every attempt; the message lists them.
        BackendError: The child crashed.
        MedSAMEdgeError: What the child itself found wrong.
    """
    tried: list[str] = []
    for options in ladder(order.options):
        attempt = replace(order, options=options)
        try:
            return _attempt(attempt, step, command)
        except WorkspaceError:  # less would not help
            raise
        except (_KilledError, DeviceMemoryError) as error:
            tried.append(f"{_described(options)}: {error.found}")
            say(f"{order.part}: out of memory with {_described(options)}")
            Path(order.out).unlink(missing_ok=True)
    # "Requested size was" more than the workspace: one fused region needs it whole, and less can only fail too.
    remedy = "close other programs, add swap, name fewer --max-boxes, or a larger --workspace if a request exceeded it"
    raise DeviceMemoryError(f"enough memory to build the {order.part}", "; then ".join(tried), remedy)


def _described(options: BuildOptions) -> str:
    return f"a workspace of {options.workspace_bytes // MIB} MiB at level {options.level}"


def _attempt(order: Order, step: Step, command: Sequence[str]) -> EngineFacts:
    folder = Path(order.out).parent
    path = folder / "order.json"
    write_atomic(path, json.dumps(to_json(order, "order")).encode())
    with temporary_file() as errors:
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"}
        try:
            child = subprocess.Popen(
                (*command, str(path)), stdout=subprocess.PIPE, stderr=errors, env=environment, encoding="utf-8",
                errors="replace", cwd=folder,
            )  # fmt: skip
        except OSError as error:
            raise MachineError("a process for the build", str(error.strerror), "free some memory") from error
        facts = _listen(child, step)
        code = child.wait()
        if facts is None or code:
            raise _death(order.part, code, _last_words(errors.fileno()))
        return facts


def _listen(child: "subprocess.Popen[str]", step: Step) -> EngineFacts | None:
    assert child.stdout
    facts = None
    try:
        for line in child.stdout:
            told = _told(line)
            if "step" in told:
                step(*_Step(*told["step"]))
            elif "error" in told:
                raise error_from([str(part) for part in told["error"]])
            elif "built" in told:
                facts = from_json(EngineFacts, told["built"], "engine")
    except BaseException:
        child.kill()
        raise
    finally:
        child.stdout.close()
        child.wait()
    return facts


class _Step(NamedTuple):
    name: str
    done: int
    total: int


def _told(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:  # cut off by its death
        return {}
    return told if isinstance(told, dict) else {}


def _death(part: str, code: int, words: str) -> MedSAMEdgeError | _KilledError:
    if code == -signal.SIGKILL:
        return _KilledError()
    if code < 0:
        name = signal.Signals(-code).name
        remedy = "check the driver (`dmesg`, `nvidia-smi`), update TensorRT, or build on another --flavour"
        return BackendError(f"TensorRT to build the {part}", f"its process died of {name}; {words}", remedy)
    found = f"its process ended with {code} and no answer; {words}"
    return BackendError(f"TensorRT to build the {part}", found, "run it again; if it stays, name another --precision")


def _last_words(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace")
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return f"last words: {lines[-1][:300]}" if lines else "no last words"
