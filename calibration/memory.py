"""How much memory a candidate takes, measured in a process that holds this candidate and nothing else.

The process that searches holds ONNX models, statistics and several predictors at once; its size says nothing.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..runtime.backends.base import BackendChoice
from ..runtime.bundle import Bundle
from ..runtime.errors import BackendError, BundleError, DeviceMemoryError, MeasurementError, MedSAMEdgeError
from ..runtime.files import explained, temporary_folder
from ..runtime.loading import entry_of
from ..runtime.processes import environment, not_started
from ..runtime.schema import from_json
from ..runtime.types import Case
from .opened import stored

COMMAND = (sys.executable, "-m", "medsam_edge.calibration.memory_child")
_MEND = "run it again; if it stays, try the backend with `medsam-edge verify`"


@dataclass(frozen=True)
class Peak:
    """What a process answers: its largest resident size, or None where the system keeps no such figure."""

    bytes: int | None


@dataclass(frozen=True, eq=False)
class Memory:
    """Measures candidates one after the other; what cannot be measured is a note and no figure.

    Attributes:
        bundle: Its decoder, profile and float32 encoder.
        case: What each candidate answers: its image and its first box.
        notes: Why a candidate has no figure, a sentence each.
    """

    bundle: Bundle
    case: Case
    notes: list[str] = field(default_factory=list)

    def of(self, choice: BackendChoice, encoder: bytes | None) -> int | None:
        """Return a candidate's peak memory in bytes, or None; arguments as `peak_memory`."""
        try:
            return peak_memory(self.bundle, choice, encoder, self.case)
        except MedSAMEdgeError as error:
            self.notes.append(f"The memory of {choice} is not known: {error.found}.")
            return None


def peak_memory(bundle: Bundle, choice: BackendChoice, encoder: bytes | None, case: Case) -> int | None:
    """Start a process that opens a candidate and answers one image, and return its peak resident size in bytes.

    Args:
        bundle: Its decoder and profile.
        choice: The backend, with the precision of the graph.
        encoder: The candidate's ONNX file, or None for the bundle's own.
        case: Its image and its first box are answered.

    Returns:
        None where the system keeps no such figure: Linux does (VmHWM).

    Raises:
        StorageError: There is no room for what the process reads.
        MachineError: It cannot be started.
        DeviceMemoryError: The system killed it.
        BackendError: It failed.
        MeasurementError: It answered nonsense.
    """
    with temporary_folder() as folder:
        own = entry_of(bundle, "encoder", choice) if encoder is None else None
        path, digest = (bundle.root / own.file, own.sha256) if own else stored(encoder or b"", folder)
        words = (str(bundle.root), str(choice), str(path), digest, str(_written(case, folder / "case.npz")))
        return _answered(str(choice), [*COMMAND, *words])


def _written(case: Case, path: Path) -> Path:
    with explained("a temporary file that can be written", path):
        np.savez(path, image=case.image, boxes=case.boxes[:1])
    return path


def _answered(who: str, command: Sequence[str]) -> int | None:
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, env=environment({}), encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise not_started(who, command, error) from error
    if done.returncode == -signal.SIGKILL:
        raise DeviceMemoryError(f"enough memory for {who}", "the system killed its process", "close other programs")
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BackendError(f"{who} to answer an image in a process of its own", last, _MEND)
    return _peak(done.stdout)


def _peak(text: str) -> int | None:
    """Read the last line: a library may have printed before it."""
    line = (text.strip() or "nothing").splitlines()[-1]
    try:
        return from_json(Peak, json.loads(line), "peak").bytes
    except (ValueError, BundleError) as error:
        raise MeasurementError("one JSON object from a started process", repr(line[:100]), _MEND) from error
