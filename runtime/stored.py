"""What a state folder holds for one bundle, and whether the next start would use it. Reads, and builds nothing."""

from dataclasses import dataclass, replace
from pathlib import Path

from .backends.base import BackendChoice, GraphSource, label
from .backends.choose import blob_key
from .bundle import Bundle, verify_file
from .errors import MedSAMEdgeError
from .manifest import GraphEntry, Manifest
from .state import StateFolder, brief, origin_of
from .state_manifest import BlobEntry


@dataclass(frozen=True)
class StoredBlob:
    """A compiled model in a state folder; `reason` says why it would be rebuilt, and is empty where it serves."""

    part: str
    backend: str
    device: str
    precision: str
    threads: int | None
    sha256: str
    bytes: int
    reusable: bool
    reason: str


@dataclass(frozen=True)
class BundleState:
    """A bundle, and what a state folder holds for it. `problem`: why the folder's own manifest counts as empty."""

    root: Path
    manifest: Manifest
    state: Path
    problem: str
    blobs: tuple[StoredBlob, ...]


def bundle_state(bundle: Bundle, state: Path) -> BundleState:
    """Look at every blob that was made from one of the bundle's graphs, or from one that lay in its place.

    Raises:
        StorageError, UsageError: If the folder cannot be used at all; see `StateFolder`.
    """
    folder = StateFolder(state)
    listed, problem = folder.read()
    here = origin_of(bundle.root / "graphs")
    graphs = {graph.sha256: graph for graph in bundle.manifest.graphs}
    ours = [blob for blob in listed.blobs if blob.key.graph in graphs or blob.origin == here]
    blobs = tuple(_stored(bundle, folder, blob, graphs.get(blob.key.graph)) for blob in ours)
    return BundleState(bundle.root, bundle.manifest, state, problem, blobs)


def _stored(bundle: Bundle, folder: StateFolder, blob: BlobEntry, graph: GraphEntry | None) -> StoredBlob:
    reason = _objection(bundle, folder, blob, graph)
    key = blob.key
    return StoredBlob(
        key.part,
        key.backend,
        key.device,
        label(key.graph_precision, key.precision),
        key.threads,
        blob.sha256,
        blob.bytes,
        not reason,
        reason,
    )


def _objection(bundle: Bundle, folder: StateFolder, blob: BlobEntry, graph: GraphEntry | None) -> str:
    if graph is None:
        return f"made from a graph {blob.key.graph[:16]}…, which the bundle no longer has"
    try:
        wanted = blob_key(_source(bundle, graph), _choice(blob))
        verify_file(folder.root, blob)
    except MedSAMEdgeError as error:
        return brief(error)
    except Exception as error:  # a library that is not there, or does not load, raises what it likes
        return f"{blob.key.backend} cannot be loaded here ({brief(error)})"
    if wanted is None:
        return f"{blob.key.backend} keeps no compiled models"
    # A wanted key without options is that of an engine, whose options were chosen when it was built.
    return blob.key.differences(wanted if wanted.properties else replace(wanted, properties=blob.key.properties))


def _choice(blob: BlobEntry) -> BackendChoice:
    key = blob.key
    return BackendChoice(key.backend, key.device, key.precision, key.threads, key.graph_precision)


def _source(bundle: Bundle, graph: GraphEntry) -> GraphSource:
    part = next(part for part in bundle.manifest.parts if part.name == graph.part)
    return GraphSource(bundle.root / graph.file, part, graph.sha256)
