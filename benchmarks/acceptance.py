"""The record that `accept` writes: what was run on this device, on which bundle, and whether it may be used.

Plain data with a digest of its own canonical form. Nothing in it says whose machine it is or where files lie. It runs
nothing; `accepting` does.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.engines.board import Board
from ..runtime.engines.build import Engine
from ..runtime.engines.gpu import Gpu
from ..runtime.engines.sensors import Sensors
from ..runtime.errors import ArtefactError, BundleError, ExitCode
from ..runtime.files import read_bytes
from ..runtime.manifest import canonical, load_object
from ..runtime.parity import Check, Group, Limits
from ..runtime.predictor import ServedBy
from ..runtime.schema import to_json
from .latency import Latency
from .verification import TaskGroup

SCHEMA = "medsam-edge/acceptance/1"
PASSED, FAILED, LATENCY_ONLY, NOT_RUN = "passed", "failed", "latency only", "not run"
_MOST_BYTES = 64 << 20
_MEND = "run `medsam-edge accept` again on the device"


@dataclass(frozen=True)
class Subject:
    """The bundle that was tried: what it is, and what it carries to be tried with.

    Attributes:
        trained: False for random weights, which nothing can be signed off with.
        golden_cases, golden_masks: Images and masks of the source checkpoint that it carries.
        phantoms: Synthetic cases that were drawn beside them; they gate nothing.
    """

    model: str
    architecture: str
    profile: str
    trained: bool
    weights_sha256: str
    digest: str
    golden_cases: int
    golden_masks: int
    phantoms: int


@dataclass(frozen=True)
class Device:
    """The machine. `no_gpu` says why no GPU is named; the first of each pair is from before anything was
    run, the second from when all was measured."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    gpu: Gpu | None
    no_gpu: str
    before: Board
    after: Board
    sensors_before: Sensors
    sensors_after: Sensors


@dataclass(frozen=True)
class Measured:
    """One backend's figures; `Latency` explains samples, and the peaks are of its own process."""

    latencies: tuple[Latency, ...]
    ready_ms: float
    first_mask_ms: float
    peak_mib: float
    peak_many_mib: float | None


@dataclass(frozen=True)
class Verdict:
    """What became of one backend.

    Attributes:
        backend: As `load` takes it.
        required: Whether a person asked for it by name, so that `not run` is a refusal.
        outcome: "passed", "failed", "latency only" (random weights) or "not run".
        reason: Why it did not pass; empty where it did.
        exit_code: What this backend alone would end with; 0 where it passed or need not run.
        served_by: What computed, or None where nothing did.
        engines: TensorRT's, each with its hash and what was found out when it was built.
        limits: What the checks were held against.
        checks: Golden vectors, and what needs no reference.
        masks: Agreement with the source checkpoint's masks, by modality; the last group is all of them.
        tasks: Agreement with the phantoms' own masks; no gate.
        measured: Latency and memory, or None where it was not measured.
    """

    backend: str
    required: bool
    outcome: str
    reason: str
    exit_code: int
    served_by: ServedBy | None = None
    engines: tuple[Engine, ...] = ()
    limits: Limits | None = None
    checks: tuple[Check, ...] = ()
    masks: tuple[Group, ...] = ()
    tasks: tuple[TaskGroup, ...] = ()
    measured: Measured | None = None


@dataclass(frozen=True)
class Measurement:
    """How it was measured, and why that counts for nothing where `invalid` is not empty.

    Attributes:
        rounds, warmup: Samples of each stage, and those before them that do not count.
        image_hw: Height and width of the images.
        boxes: Boxes of the stage that decodes many.
        environment: Variables that limit threads, where they are set.
        notes: What a reader has to know of the figures.
        invalid: Why the figures cannot be used.
        exit_code: 0, or what a measurement that failed ends with.
    """

    rounds: int
    warmup: int
    image_hw: tuple[int, int]
    boxes: int
    environment: dict[str, str]
    notes: tuple[str, ...]
    invalid: str
    exit_code: int


@dataclass(frozen=True)
class Acceptance:
    """The whole record.

    Attributes:
        schema: `SCHEMA`.
        toolkit_version, created: Of medsam-edge; ISO 8601, UTC.
        signed_by: Who signed it, as they typed it; empty where nobody did.
        bundle, device: What was tried where.
        verdicts: One for each backend.
        measurement: None where nothing was measured.
        signed_off: The backends that may be used on this device with this bundle.
        passed: Whether at least one may, and none that was asked for by name may not.
        exit_code: What `accept` ended with.
        digest: SHA-256 of the canonical form without this field.
    """

    schema: str
    toolkit_version: str
    created: str
    signed_by: str
    bundle: Subject
    device: Device
    verdicts: tuple[Verdict, ...]
    measurement: Measurement | None
    signed_off: tuple[str, ...]
    passed: bool
    exit_code: int
    digest: str


def decide(verdicts: Sequence[Verdict], measurement: Measurement | None) -> tuple[tuple[str, ...], int]:
    """Return the backends that are signed off, and the exit code of all together.

    A measurement that counts for nothing signs off nobody: the figures are part of what is signed.
    """
    codes = [verdict.exit_code for verdict in verdicts if verdict.outcome != NOT_RUN or verdict.required]
    codes.append(measurement.exit_code if measurement else 0)
    code = next((code for code in codes if code), 0)
    valid = measurement is not None and not measurement.invalid
    signed = tuple(one.backend for one in verdicts if one.outcome == PASSED and one.measured is not None and valid)
    return signed, code or (0 if signed else _none_ran(verdicts))


def _none_ran(verdicts: Iterable[Verdict]) -> int:
    return next((verdict.exit_code for verdict in verdicts if verdict.exit_code), int(ExitCode.ENVIRONMENT))


def seal(record: Acceptance) -> Acceptance:
    """Return the record with the digest of what it says."""
    return replace(record, digest=hashlib.sha256(canonical(to_json(record, "acceptance"))).hexdigest())


def encode(record: Acceptance) -> bytes:
    """The bytes of `acceptance.json`: indented for people, the schema first."""
    text = json.dumps(to_json(record, "acceptance"), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def read_record(path: Path) -> dict[str, object]:
    """Read a record that came from a device, and make sure that it says what was written there.

    The digest guards against accidents and careless edits; whoever edits it with care can make a new digest.

    Raises:
        ArtefactError: It is no record, of another schema, or was altered.
        StorageError: The file cannot be read.
    """
    data = read_bytes(path, _MOST_BYTES)
    try:
        found = load_object(data)
        digest = hashlib.sha256(canonical(found)).hexdigest()
    except (ValueError, BundleError) as error:
        raise ArtefactError("a record that `accept` wrote", f"{path}, which is no JSON object", _MEND) from error
    if found.get("schema") != SCHEMA:
        raise ArtefactError(f"a record of the schema {SCHEMA}", repr(found.get("schema"))[:100], _MEND)
    if found.get("digest") != digest:
        raise ArtefactError(f"a record with the digest {digest[:16]}…", repr(found.get("digest"))[:40], _MEND)
    return found
