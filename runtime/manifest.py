"""What a bundle says about itself: model, profile, parts, and every file with its hash.

`seal` stamps a manifest with the digest of its own canonical form, `encode` gives its bytes, and `parse`
takes bytes from anywhere and trusts nothing in them: not the schema, the digest, the size or a file name.
This module never touches the disk; `bundle` reads what is listed here, `store` writes it.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from reprlib import repr as short
from typing import NoReturn

from medsam_edge import __version__

from .errors import BundleError
from .schema import from_json, omitted, to_json

SCHEMA_FAMILY = "medsam-edge/bundle/"
SCHEMA = SCHEMA_FAMILY + "1"
MANIFEST_NAME = "manifest.json"
MAX_BYTES = 4 << 20
SUFFIXES = {"graphs": ".onnx", "golden": ".npz", "records": ".json"}
"""The folders of a bundle, each with the ending of the files inside."""
WEIGHTS_SUFFIX = ".bin"
"""The ending of weights that lie beside their graph."""

_MEND = "export again or copy the bundle again"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output. `shape` holds "N" for the dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class PartSpec:
    """A part of the model, such as "encoder", with what goes in and what comes out."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class WeightsEntry:
    """A file of weights beside an ONNX file that could not hold them."""

    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX file: a part in one precision and one attention form, preferred for `targets`.

    `weights`: the files that it refers to, by bare names. `judged`: backends that it may serve as; none: any.
    """

    part: str
    precision: str
    form: str
    targets: tuple[str, ...]
    file: str
    sha256: str
    bytes: int
    weights: tuple[WeightsEntry, ...] = omitted(())
    judged: tuple[str, ...] = omitted(())


@dataclass(frozen=True)
class FileEntry:
    """A golden case (`name` is its id) or a record (`name` is its kind)."""

    name: str
    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Model:
    """Where the weights come from. `trained` is False for random weights, which pass no parity gate."""

    name: str
    architecture: str
    config: dict[str, object]
    weights_sha256: str
    trained: bool
    source_file: str
    source_sha256: str


@dataclass(frozen=True)
class Manifest:
    """The whole of `manifest.json`.

    Attributes:
        schema: `SCHEMA`.
        toolkit_version: Version of medsam-edge that wrote it.
        created: ISO 8601, UTC.
        model: The checkpoint's identity.
        profile: The pre- and post-processing contract, as data.
        pipeline: Names of the parts in the order in which they run.
        embedding_size: E, the side of the embedding grid.
        parts: The tensors of each part.
        graphs: Every ONNX file.
        golden: Every golden case.
        records: Every record of what was verified, one per kind.
        digest: SHA-256 of the canonical form without this field; empty before `seal`.
    """

    schema: str
    toolkit_version: str
    created: str
    model: Model
    profile: dict[str, object]
    pipeline: tuple[str, ...]
    embedding_size: int
    parts: tuple[PartSpec, ...]
    graphs: tuple[GraphEntry, ...]
    golden: tuple[FileEntry, ...]
    records: tuple[FileEntry, ...]
    digest: str

    def entries(self) -> dict[str, tuple[GraphEntry | FileEntry, ...]]:
        """Every listed file but the graphs' weights by the folder it lies in."""
        return {"graphs": self.graphs, "golden": self.golden, "records": self.records}

    def files(self) -> set[str]:
        """The relative names of every listed file."""
        weights = {entry.file for graph in self.graphs for entry in graph.weights}
        return {entry.file for entries in self.entries().values() for entry in entries} | weights


def file_name(folder: str, sha256: str) -> str:
    """The only name that a file with this content may have: "graphs/<sha256>.onnx"."""
    return f"{folder}/{sha256}{SUFFIXES[folder]}"


def weights_name(sha256: str) -> str:
    """The only name that a graph's weights with this content may have: "graphs/<sha256>.bin"."""
    return f"graphs/{sha256}{WEIGHTS_SUFFIX}"


def canonical(data: dict[str, object]) -> bytes:
    """The one form that is hashed: sorted keys, no spaces, UTF-8, the digest left out.

    Raises:
        ValueError: NaN or a lone surrogate, which have no place in it.
    """
    body = {key: value for key, value in data.items() if key != "digest"}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(manifest: Manifest) -> Manifest:
    """Return the manifest with the digest of what it says.

    Raises:
        BundleError: It holds something that JSON cannot.
    """
    try:
        return replace(manifest, digest=hashlib.sha256(canonical(to_json(manifest))).hexdigest())
    except ValueError as error:
        raise _refuse("a manifest that JSON can hold", str(error)) from error


def encode(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`: indented for people, the schema first."""
    text = json.dumps(to_json(manifest), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def parse(data: bytes) -> Manifest:
    """Read a manifest that may be damaged or hostile.

    Raises:
        BundleError: Another schema, a digest that does not fit, a file name that is not its hash, or anything
            else that `encode(seal(manifest))` would not have written.
    """
    if len(data) > MAX_BYTES:
        raise _refuse(f"a manifest of at most {MAX_BYTES} bytes", f"{len(data)} bytes")
    try:
        raw = load_object(data)
        _check_schema(raw)
        check_digest(raw)
        manifest = from_json(Manifest, raw)
    except RecursionError as error:
        raise _refuse("a manifest of a few levels", "one nested hundreds of levels deep") from error
    _check_files(manifest)
    _check_names(manifest)
    return manifest


def load_object(data: bytes) -> dict[str, object]:
    """Read one JSON object in UTF-8 in which no key stands twice and no number is NaN.

    Raises:
        BundleError: It is none.
    """
    try:
        # Decoded here, because json.loads would also accept UTF-16 and UTF-32.
        raw = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise _refuse("a manifest in JSON", str(error)) from error
    if not isinstance(raw, dict):
        raise _refuse("a manifest that is a JSON object", short(raw))
    return raw


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):  # two readers could each believe another one of the two
        raise ValueError(f"a key twice among {short([key for key, _ in pairs])}")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the constant {name}")


def _check_schema(raw: dict[str, object]) -> None:
    schema = raw.get("schema")
    if schema == SCHEMA:
        return
    mend = "check that this is the manifest of a bundle; if so, export again"
    if isinstance(schema, str) and schema.startswith(SCHEMA_FAMILY):
        mend = "upgrade medsam-edge, or export the bundle again with this version"
    raise BundleError(f"the schema {SCHEMA}, which medsam-edge {__version__} reads", short(schema), mend)


def check_digest(raw: dict[str, object]) -> None:
    """Hold a manifest's `digest` against what it says.

    Raises:
        BundleError: They do not fit.
    """
    try:
        digest = hashlib.sha256(canonical(raw)).hexdigest()
    except ValueError as error:
        raise _refuse("a manifest in canonical JSON", str(error)) from error
    if raw.get("digest") != digest:
        found = f"{short(raw.get('digest'))}, so the manifest was altered"
        raise _refuse(f"the manifest's digest {digest}", found)


def _check_files(manifest: Manifest) -> None:
    for folder, entries in manifest.entries().items():
        for i, entry in enumerate(entries):
            _check_file(f"manifest.{folder}[{i}]", entry, file_name(folder, entry.sha256))
    for i, graph in enumerate(manifest.graphs):
        for j, weights in enumerate(graph.weights):
            _check_file(f"manifest.graphs[{i}].weights[{j}]", weights, weights_name(weights.sha256))
        _check_unique("file of weights", [weights.file for weights in graph.weights])


def _check_file(where: str, entry: GraphEntry | FileEntry | WeightsEntry, name: str) -> None:
    if not _SHA256.fullmatch(entry.sha256):
        raise _refuse(f"{where}.sha256 in 64 lower-case hexadecimal digits", short(entry.sha256))
    # Spelling the one allowed name leaves traversal and absolute paths no way in.
    if entry.file != name:
        raise _refuse(f"{where}.file to be {name}", short(entry.file))
    if entry.bytes < 0:
        raise _refuse(f"{where}.bytes of zero or more", str(entry.bytes))


def _check_names(manifest: Manifest) -> None:
    parts = [part.name for part in manifest.parts]
    _check_unique("part", parts)
    _check_unique("graph", map(_described, manifest.graphs))
    _check_unique("golden case", [entry.name for entry in manifest.golden])
    _check_unique("record", [entry.name for entry in manifest.records])
    for name in (*manifest.pipeline, *(graph.part for graph in manifest.graphs)):
        if name not in parts:
            raise _refuse(f"one of the parts {', '.join(parts) or '(none)'}", short(name))


def _described(graph: GraphEntry) -> str:
    # In int8 two targets may have graphs of one form: blocks and ranges are chosen for each.
    return f"{graph.part} {graph.precision} {graph.form} {'+'.join(graph.targets)}".rstrip()


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _refuse(f"each {what} once", f"{short(name)} twice")
        seen.add(name)


def _refuse(expected: str, found: str) -> BundleError:
    return BundleError(expected, found, _MEND)
