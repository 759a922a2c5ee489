"""What `bench` and its workers say to each other: one JSON object a line, a request down, an answer back.

An answer is `{"answer": …}`, or `{"error": …}` with the parts of an error of ours. Plain data, and nothing of how it
travels or what is done with it.
"""

import json
from dataclasses import dataclass, field
from typing import TypeVar

from ...runtime import errors
from ...runtime.errors import BundleError, MeasurementError, MedSAMEdgeError
from ...runtime.predictor import Timings
from ...runtime.schema import from_json, to_json

T = TypeVar("T")
_MEND = "run it again; if it stays, leave this candidate out"


@dataclass(frozen=True)
class Opening:
    """The first request: what to measure.

    Attributes:
        kind: "bundle", "torch" (the authors' way) or "gemm" (the machine itself).
        bundle, backend, state: For "bundle", as `load` takes them; no state is "".
        weights: For "torch", a file with the state dict. For "gemm", unused.
        library: For "gemm", "torch" or "numpy".
        profile: For "torch", the bundle's profile as data.
    """

    kind: str
    bundle: str = ""
    backend: str = ""
    weights: str = ""
    library: str = ""
    profile: dict[str, object] = field(default_factory=dict)
    state: str = ""


@dataclass(frozen=True)
class Request:
    """Every later request.

    Attributes:
        ask: "samples", "one box", "many boxes", "agreement" or "gemm".
        sample: Which image, for the two kinds of boxes.
        count: How many boxes, for "many boxes".
        path: The file to read, for "samples".
    """

    ask: str
    sample: int = 0
    count: int = 0
    path: str = ""


@dataclass(frozen=True)
class Measured:
    """What one request cost.

    Attributes:
        timings: Milliseconds of each stage; a product of matrices counts as `encode_ms`.
        peak_mib: The largest resident size that the process has had so far.
        quiet: Whether its threads went to sleep afterwards; if not, it disturbed those that came after it.
    """

    timings: Timings
    peak_mib: float
    quiet: bool


@dataclass(frozen=True)
class Done:
    """Something was done that is not measured."""


@dataclass(frozen=True)
class Agreement:
    """DSC of each mask with the source checkpoint's, over all boxes of all samples."""

    dsc: tuple[float, ...]


def to_line(message: object) -> str:
    """Write a request, or an answer of a worker."""
    return json.dumps(to_json(message, "message")) + "\n"


def answer_line(answer: object) -> str:
    """Write an answer, an error of ours included."""
    if isinstance(answer, MedSAMEdgeError):
        parts = {"expected": answer.expected, "found": answer.found, "remedy": answer.remedy}
        return json.dumps({"error": {"kind": type(answer).__name__, **parts}}) + "\n"
    return json.dumps({"answer": to_json(answer, "answer")}) + "\n"


def from_line(kind: type[T], line: str) -> T:
    """Read a request.

    Raises:
        BundleError, ValueError: If it is none.
    """
    return from_json(kind, json.loads(line), "request")


def read_answer(kind: type[T], line: str, who: str) -> T:
    """Read an answer.

    Raises:
        MedSAMEdgeError: The worker's own error, where it answers with one.
        MeasurementError: If the line is no answer of this kind.
    """
    try:
        found = _parsed(kind, json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError, BundleError) as error:
        raise MeasurementError(f"an answer of {who}", repr(line.strip()[:100]), _MEND) from error
    if isinstance(found, MedSAMEdgeError):
        raise found
    return found


def _parsed(kind: type[T], document: dict[str, dict[str, str]]) -> T | MedSAMEdgeError:
    if "error" not in document:
        return from_json(kind, document["answer"], "answer")
    parts = document["error"]
    error: type[MedSAMEdgeError] = getattr(errors, parts["kind"])
    return error(parts["expected"], parts["found"], parts["remedy"])
