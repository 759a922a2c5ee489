"""The `export` verb: checkpoint to a bundle that is committed only after it drew the source's masks.

It joins the other modules of this folder in their order; each step is in its own file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from ..runtime.backends.base import BackendChoice, GraphSource
from ..runtime.backends.choose import EXTRAS, available, install_hint, resolve, status
from ..runtime.errors import MissingExtraError, UsageError
from ..runtime.files import temporary_folder, write_atomic
from ..runtime.golden import Golden
from ..runtime.loading import open_both
from ..runtime.manifest import Manifest, Model
from ..runtime.parity import (
    Check,
    Limits,
    compare_golden,
    iou_check,
    mask_check,
    require,
    self_consistency,
    tensor_check,
)
from ..runtime.predictor import Predictor, ServedBy
from ..runtime.profile import Profile, profile_named
from ..runtime.store import BundleWriter
from ..runtime.types import Case
from .architecture import model_of
from .checkpoint import Checkpoint, known_file, read_checkpoint
from .graphs import Graph
from .models.sam import Sam
from .overflow import LARGEST, model_peaks, require_room
from .reference import Reference
from .variants import DEFAULT_TARGETS, Variant, chosen, export_graphs, variants

Say = Callable[[str], None]


@dataclass(frozen=True)
class ExportResult:
    """What was written, and the parity that allowed it: backend name to its checks."""

    bundle: Path
    manifest: Manifest
    parity: dict[str, tuple[Check, ...]]


def export_bundle(
    checkpoint: Path | Checkpoint,
    out: Path,
    cases: Sequence[Case],
    profile: str | None = None,
    say: Say = lambda _: None,
    targets: Sequence[str] = DEFAULT_TARGETS,
    form: str | None = None,
) -> ExportResult:
    """Export a checkpoint to a bundle.

    Args:
        checkpoint: The weights: their file or folder, or what was read already.
        out: The bundle's folder: absent, empty, or a bundle to replace.
        cases: At least two golden inputs; the source's answers to them go into the bundle.
        profile: Name of the profile, or None to take the one that the checkpoint states about itself.
        say: Told of each step.
        targets, form: As `variants.export_graphs` takes them.

    Raises:
        UsageError: If the profile is not stated or not known, there are too few cases, or `out` is somebody else's.
        MissingExtraError: If a backend to check the graphs with is not here.
        CheckpointError, StorageError: As `read_checkpoint`.
        ParityError: If a backend draws other masks than the source; nothing is written then. Random weights gate
            nothing.
    """
    _check_early(cases)
    with BundleWriter(out) as writer:
        source = _read(checkpoint, say)
        model = model_of(source.tensors)
        contract = profile_named(stated_profile(source, profile), model.config.image_size)
        _check_backends(variants(model, targets, form))
        say("exporting to ONNX")
        graphs = export_graphs(model, contract, targets, form)
        say(f"asking the source checkpoint about {len(cases)} golden cases")
        golden = list(map(Reference(model, contract).answer, cases))
        if record := _float16(model, contract, graphs, cases, source.trained, say):
            writer.add_record("float16", record)
        parity = dict(_checked(graphs, contract, golden, source.trained, say))
        return ExportResult(out, _commit(writer, source, model, contract, graphs, golden, parity), parity)


def _float16(
    model: Sam, profile: Profile, graphs: Sequence[Graph], cases: Sequence[Case], gating: bool, say: Say
) -> dict[str, object]:
    """Look for overflow before float16 graphs are trusted: ONNX Runtime's CPU would hide it, computing in float32."""
    if not any(graph.precision == "fp16" for graph in graphs):
        return {}
    say("looking for values beyond float16, block by block")
    found = model_peaks(model, profile, [case.image for case in cases])
    if gating:
        require_room(found)
    return {"schema": "medsam-edge/record/float16/1", "largest": LARGEST, "peaks": [asdict(peak) for peak in found]}


def _check_early(cases: Sequence[Case]) -> None:
    """Refuse before minutes of work, not after."""
    resolve("auto")
    if len(cases) < 2:  # one image cannot show that two images get two embeddings
        raise UsageError("at least two golden cases", str(len(cases)), "add a case with another image")


def _check_backends(wanted: Sequence[Variant]) -> None:
    """Refuse graphs that nothing here could hold against the source.

    Raises:
        MissingExtraError: If the backend that would check them is not installed.
    """
    here = available()
    for variant in wanted:
        backends = [CHECKED_ON.get(target, target) for target in variant.targets]
        if not set(backends) & set(here):
            raise MissingExtraError(
                f"{backends[0]} to check the {variant.part} for {variant.targets[0]} with",
                ", ".join(here) or "no backend at all",
                install_hint(EXTRAS[backends[0]]),
            )


def _read(checkpoint: Path | Checkpoint, say: Say) -> Checkpoint:
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    say(f"reading {checkpoint.name}")
    return read_checkpoint(checkpoint)


def stated_profile(source: Checkpoint, asked: str | None) -> str:
    """Return the profile's name: the person's word first, then the file's own.

    Raises:
        UsageError: If neither says it. Weights do not: MedSAM's and plain SAM's have the same shapes.
    """
    name = asked or source.profile
    if name is None:
        remedy = "add --profile medsam if these are MedSAM weights or were fine-tuned with MedSAM's preprocessing"
        published = known_file(source.sha256)
        if published:
            remedy = f"this is {published} as published: --profile medsam-hf-wanglab prepares images as it was trained"
        if source.suggested_profile:
            stated = f"its preprocessor_config.json states the steps of --profile {source.suggested_profile}"
            remedy = f"{stated}: add that to draw what Transformers draws with this folder; or {remedy}"
        raise UsageError(
            "to know which preprocessing the weights were trained with",
            f"{source.path.name} does not say it, and shapes cannot tell MedSAM from plain SAM",
            remedy,
        )
    return name


def check_backend(
    name: str, graphs: Sequence[Graph], profile: Profile, golden: Sequence[Golden], folder: Path, limits: Limits
) -> tuple[Check, ...]:
    """Run golden cases through an encoder and a decoder graph on one backend: tensors, masks, consistency."""
    with opened(name, graphs, profile, folder) as predictor:
        rows = [compare_golden(predictor, case) for case in golden]
        tensors = [row.tensor for row in rows]
        return (
            tensor_check(tensors, limits),
            iou_check(tensors, limits),
            mask_check([mask for row in rows for mask in row.masks], limits),
            *self_consistency(predictor, [row.answered for row in rows], limits),
        )


@contextmanager
def opened(name: str, graphs: Sequence[Graph], profile: Profile, folder: Path) -> Iterator[Predictor]:
    """Open an encoder and a decoder graph that are in no bundle yet."""
    choice = resolve(name)
    sources = [_source(graph, folder) for graph in graphs]
    encoder, decoder, _ = open_both(dict(zip(("encoder", "decoder"), sources, strict=True)), choice, None)
    served_by = _served_by(choice, encoder.precision, sources)
    with Predictor(profile, encoder, decoder, served_by) as predictor:
        yield predictor


@dataclass(frozen=True)
class Trial:
    """A pair of graphs to be checked on a backend of this machine, under the label that its record has."""

    label: str
    backend: str
    graphs: tuple[Graph, Graph]
    limits: Limits


def trials(graphs: Sequence[Graph], backends: Sequence[str]) -> Iterator[Trial]:
    """List what can be checked here: each backend its own graphs, and ONNX Runtime those for TensorRT too.

    TensorRT itself needs an NVIDIA GPU; what is shown without one is that the graphs are right.
    """
    for target, precision in sorted({(target, graph.precision) for graph in graphs for target in graph.targets}):
        backend = CHECKED_ON.get(target, target)
        if backend in backends:
            pair = (chosen(graphs, "encoder", precision, target), chosen(graphs, "decoder", precision, target))
            label = backend if target == backend else f"{backend} ({precision} graphs for {target})"
            yield Trial(label, backend, pair, FP16 if precision == "fp16" else Limits())


CHECKED_ON = {"tensorrt": "onnxruntime"}
FP16 = Limits(cosine=0.999, mean_dsc=0.995, worst_dsc=0.97, iou_error=0.02, batch_dsc=0.999)


def _checked(
    graphs: Sequence[Graph], profile: Profile, golden: Sequence[Golden], gating: bool, say: Say
) -> Iterator[tuple[str, tuple[Check, ...]]]:
    for trial in trials(graphs, available()):
        say(f"comparing {trial.label} with the source")
        with temporary_folder() as folder:
            checks = check_backend(trial.backend, trial.graphs, profile, golden, folder, trial.limits)
        if gating:
            require(checks, trial.label)
        yield trial.label, checks


def _source(graph: Graph, folder: Path) -> GraphSource:
    path = folder / f"{graph.spec.name}.onnx"
    write_atomic(path, graph.data)
    for weights in graph.weights:
        write_atomic(folder / weights.name, weights.data)
    return GraphSource(path, graph.spec, sha256(graph.data).hexdigest())


def _served_by(choice: BackendChoice, precision: str, sources: Sequence[GraphSource]) -> ServedBy:
    graphs = {source.part.name: source.sha256 for source in sources}
    return ServedBy(choice.name, status(choice.name).version or "", choice.device, precision, graphs)


def _commit(
    writer: BundleWriter,
    source: Checkpoint,
    model: Sam,
    profile: Profile,
    graphs: Sequence[Graph],
    golden: Sequence[Golden],
    parity: dict[str, tuple[Check, ...]],
) -> Manifest:
    for graph in graphs:
        writer.add_graph(
            graph.data,
            part=graph.spec.name,
            precision=graph.precision,
            form=graph.form,
            targets=graph.targets,
            weights=[weights.data for weights in graph.weights],
        )
    for case in golden:
        writer.add_golden(case)
    writer.add_record("export", _record(parity))
    return writer.commit(
        model=_model(source, model),
        profile=profile.to_dict(),
        pipeline=["encoder", "decoder"],
        parts=list({graph.spec.name: graph.spec for graph in graphs}.values()),
        embedding_size=model.config.grid,
    )


def _record(parity: dict[str, tuple[Check, ...]]) -> dict[str, object]:
    return {
        "schema": "medsam-edge/record/export/1",
        "backends": {
            name: {"version": status(name.split(" ")[0]).version, "checks": [asdict(check) for check in checks]}
            for name, checks in parity.items()
        },
    }


def _model(source: Checkpoint, model: Sam) -> Model:
    return Model(
        name=source.path.stem,
        architecture=model.config.architecture,
        config=asdict(model.config),
        weights_sha256=source.weights_sha256,
        trained=source.trained,
        source_file=source.path.name,
        source_sha256=source.sha256,
    )
