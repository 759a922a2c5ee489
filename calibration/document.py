"""The record of a calibration: what was decided, from what, and where. Any device can read it: it needs no ONNX."""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import metadata

import numpy as np
from medsam_edge import __version__

from ..runtime.backends.choose import status
from ..runtime.bundle import Bundle
from ..runtime.errors import BundleError
from ..runtime.machine import processor_features, processor_name
from ..runtime.manifest import canonical
from ..runtime.schema import from_json, to_json, to_plain
from .case_record import CasesSummary, summarised
from .commit import KIND, record_kind
from .outcome import Outcome

SCHEMA = "medsam-edge/record/calibration/2"
_MEND = "quantize the bundle again with this version"


@dataclass(frozen=True)
class Document:
    """What a bundle keeps of a calibration.

    Attributes:
        schema: `SCHEMA`.
        toolkit_version: Version of medsam-edge that wrote it.
        libraries: By name, the versions of what was computed with.
        processor, cpus, features: Where it was judged and timed.
        key_sha256: Hash of `key`: the same inputs give the same result.
        key: The graphs, the profile, the cases with their hashes, and what was asked for.
        outcome: What was found; its `bundle` and `digest` are empty, as a bundle may be copied.
    """

    schema: str
    toolkit_version: str
    libraries: dict[str, str]
    processor: str
    cpus: int
    features: tuple[str, ...]
    key_sha256: str
    key: dict[str, object]
    outcome: Outcome

    @property
    def cases(self) -> tuple[CasesSummary, ...]:
        """The sets of cases.

        Raises:
            BundleError: The key describes none.
        """
        listed = self.key.get("cases")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise BundleError("a calibration record that lists its cases", "none", _MEND)
        return tuple(map(summarised, listed))


@dataclass(frozen=True)
class Calibration:
    """A calibration record of a bundle, as it was found.

    Attributes:
        kind: Its name in the manifest, "calibration-openvino".
        problem: Why it cannot be shown; empty where it can.
        document: The whole of it as JSON, or None where it is none.
        record: The same, read, or None.
        cases: Its sets of cases.
    """

    kind: str
    problem: str
    document: dict[str, object] | None
    record: Document | None = None
    cases: tuple[CasesSummary, ...] = ()


def new_document(key: Mapping[str, object], outcome: Outcome) -> dict[str, object]:
    """Describe an outcome in JSON types, with the versions and the processor of this process."""
    made = Document(
        schema=SCHEMA,
        toolkit_version=__version__,
        libraries=dict(_libraries(outcome.target)),
        processor=processor_name(),
        cpus=os.cpu_count() or 1,
        features=processor_features(),
        key_sha256=key_hash(key),
        key=dict(key),
        outcome=replace(outcome, bundle="", digest=""),
    )
    return to_json(made, "calibration")


def key_hash(key: Mapping[str, object]) -> str:
    """Hash everything that a result depends on."""
    return sha256(canonical(dict(key))).hexdigest()


def parse(document: Mapping[str, object]) -> Document:
    """Read a record.

    Raises:
        BundleError: Another schema, or not what `new_document` writes.
    """
    if document.get("schema") != SCHEMA:
        raise BundleError(f"a calibration record of schema {SCHEMA}", f"{document.get('schema')!r}", _MEND)
    return from_json(Document, document, "calibration")


def earlier(bundle: Bundle, target: str, key: Mapping[str, object]) -> Outcome | None:
    """Return what the bundle holds for the same inputs, or None."""
    if record_kind(target) not in {entry.name for entry in bundle.manifest.records}:
        return None
    document = bundle.record(record_kind(target))
    if document.get("schema") != SCHEMA or document.get("key_sha256") != key_hash(key):
        return None
    return replace(parse(document).outcome, bundle=str(bundle.root), digest=bundle.manifest.digest, reused=True)


def calibrations(bundle: Bundle) -> tuple[Calibration, ...]:
    """Read every calibration record; one that another version wrote or that is damaged is told, and is no error."""
    kinds = [entry.name for entry in bundle.manifest.records if entry.name.startswith(KIND)]
    return tuple(_calibration(bundle, kind) for kind in kinds)


def _calibration(bundle: Bundle, kind: str) -> Calibration:
    document = None
    try:
        read = bundle.record(kind)
        to_plain(read, kind)  # a number such as NaN would not survive `--json`
        document = read
        record = parse(document)
        return Calibration(kind, "", document, record, record.cases)
    except (BundleError, RecursionError) as error:
        found = f"expected {error.expected}, found {error.found}" if isinstance(error, BundleError) else "too deep"
        return Calibration(kind, found, document)


def _libraries(target: str) -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "numpy", np.__version__
    yield "onnx", metadata.version("onnx")
    for name in sorted({target, "onnxruntime"}):
        yield name, status(name).version or "unknown"
