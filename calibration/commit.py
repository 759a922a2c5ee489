"""Writes what was found into the bundle: one more graph, one more record, all else as it was.

The bundle is replaced as a whole, by the atomic commit of `BundleWriter`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runtime.bundle import Bundle, open_bundle
from ..runtime.errors import BundleError
from ..runtime.manifest import GraphEntry, Manifest
from ..runtime.store import BundleWriter

KIND = "calibration-"
"""How the names of such records begin."""


def record_kind(target: str) -> str:
    """Name the record of a target's calibration."""
    return f"{KIND}{target}"


def committed(
    bundle: Bundle,
    target: str,
    graph: tuple[bytes, str] | None,
    record: Mapping[str, object],
    judged: Sequence[str] = (),
) -> Manifest:
    """Replace a target's int8 encoder and the record of its calibration.

    Args:
        bundle: The opened bundle.
        target: The backend that the graph is for.
        graph: The ONNX file and the form of attention that it was made from; None keeps what was there.
        record: In JSON types.
        judged: The backends that the graph may serve as, as `--backend` takes them.

    Raises:
        BundleError: The bundle is another one than when it was opened, or a file of it changed.
        StorageError: The folder cannot be written; the old bundle stays.
    """
    manifest, kind = bundle.manifest, record_kind(target)
    with BundleWriter(bundle.root) as writer:
        _check_unchanged(bundle)
        for entry in manifest.graphs:
            if graph is None or not _replaced(entry, target):
                _keep(writer, bundle.root, entry)
        if graph is not None:
            writer.add_graph(
                graph[0], part="encoder", precision="int8", form=graph[1], targets=(target,), judged=judged
            )
        _keep_others(writer, bundle, kind)
        writer.add_record(kind, record)
        return writer.commit(
            model=manifest.model,
            profile=manifest.profile,
            pipeline=manifest.pipeline,
            parts=manifest.parts,
            embedding_size=manifest.embedding_size,
            created=manifest.created,
        )


def _check_unchanged(bundle: Bundle) -> None:
    """Hours may lie between opening and writing, and another process may have written meanwhile."""
    now = open_bundle(bundle.root).manifest.digest
    if now != bundle.manifest.digest:
        found = f"{now[:16]}…, written meanwhile"
        raise BundleError(f"the bundle that was opened, {bundle.manifest.digest[:16]}…", found, "run the verb again")


def _replaced(entry: GraphEntry, target: str) -> bool:
    return entry.precision == "int8" and entry.targets == (target,)


def _keep_others(writer: BundleWriter, bundle: Bundle, kind: str) -> None:
    for golden in bundle.golden_cases():
        writer.add_golden(golden)
    for old in bundle.manifest.records:
        if old.name != kind:
            writer.add_record(old.name, bundle.record(old.name))


def _keep(writer: BundleWriter, root: Path, entry: GraphEntry) -> None:
    writer.add_graph(
        root / entry.file,
        part=entry.part,
        precision=entry.precision,
        form=entry.form,
        targets=entry.targets,
        judged=entry.judged,
        weights=[root / weights.file for weights in entry.weights],
    )
