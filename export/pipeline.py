"""The `export` verb: checkpoint to a bundle that is committed only after it drew the source's masks.

It joins the other modules of this folder in their order; each step is in its own file.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from ..runtime.backends.choose import resolve, status
from ..runtime.errors import UsageError
from ..runtime.golden import Golden
from ..runtime.manifest import Manifest, Model
from ..runtime.memory import kernel_peak_mib
from ..runtime.parity import (
    Check,
)
from ..runtime.profile import Profile, profile_named
from ..runtime.store import BundleWriter
from ..runtime.types import Case
from .architecture import model_of
from .checkpoint import Checkpoint, known_file, read_checkpoint
from .graphs import Graph
from .models.sam import Sam
from .overflow import LARGEST, model_peaks, require_room, worst
from .reference import Reference
from .trials import Say, check_backends, checked
from .variants import DEFAULT_TARGETS, PLAIN, export_graphs, variants


@dataclass(frozen=True)
class ExportResult:
    """What was written, the parity that allowed it, and what it cost.

    Attributes:
        bundle: The folder.
        manifest: What it holds.
        parity: Backend name to its checks.
        seconds: From the call to the written bundle.
        peak_mib: Peak resident memory of this process so far, or None where the system does not tell (not Linux).
    """

    bundle: Path
    manifest: Manifest
    parity: dict[str, tuple[Check, ...]]
    seconds: float
    peak_mib: float | None


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
        ParityError: If a backend draws other masks than a trained source; nothing is written then.
    """
    begin = perf_counter()
    _check_early(cases)
    with BundleWriter(out) as writer:
        source = _read(checkpoint, say)
        model = model_of(source.tensors)
        contract = profile_named(stated_profile(source, profile), model.config.image_size)
        check_backends(variants(model, targets, form))
        say("exporting to ONNX")
        graphs = export_graphs(model, contract, targets, form)
        golden = _answers(model, contract, cases, say)
        if record := _float16(model, contract, graphs, cases, source.trained, say):
            writer.add_record("float16", record)
        parity = dict(checked(graphs, contract, golden, source.trained, say))
        manifest = _commit(writer, source, model, contract, graphs, golden, parity)
        return ExportResult(out, manifest, parity, perf_counter() - begin, kernel_peak_mib())


def _answers(model: Sam, profile: Profile, cases: Sequence[Case], say: Say) -> list[Golden]:
    say(f"asking the source checkpoint about {len(cases)} golden cases")
    return list(map(Reference(model, profile).answer, cases))


def _float16(
    model: Sam, profile: Profile, graphs: Sequence[Graph], cases: Sequence[Case], gating: bool, say: Say
) -> dict[str, object]:
    """Look for overflow before float16 graphs are trusted: ONNX Runtime's CPU would hide it, computing in float32."""
    if not any(graph.precision == "fp16" for graph in graphs):
        return {}
    say("looking for values beyond float16, block by block")
    found = model_peaks(model, profile, cases, all(graph.form == PLAIN for graph in graphs))
    peak = worst(found)
    say(f"found {peak.largest:.3g} in {peak.place}; float16 holds {LARGEST:.0f}")
    if gating:
        require_room(found)
    return {"schema": "medsam-edge/record/float16/1", "largest": LARGEST, "peaks": [asdict(peak) for peak in found]}


def _check_early(cases: Sequence[Case]) -> None:
    """Refuse before minutes of work, not after."""
    resolve("auto")
    if len(cases) < 2:  # one image cannot show that two images get two embeddings
        raise UsageError("at least two golden cases", str(len(cases)), "add a case with another image")


def _read(checkpoint: Path | Checkpoint, say: Say) -> Checkpoint:
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    say(f"reading {checkpoint.name}")
    source = read_checkpoint(checkpoint)
    if names := source.left_out:
        say(f"left out {len(names)} of the file's tensors, beside the model: {', '.join(names[:3])}")
    return source


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
