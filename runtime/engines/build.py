"""Makes the engines of a bundle that this device lacks, and keeps them in its state folder.

It joins what chooses, what builds and what keeps, in their order. What an engine draws is judged above, by whoever has
cases.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..backends.base import BackendChoice, GraphSource
from ..bundle import Bundle, verify_graph
from ..errors import BundleError, DriverError, EngineError, MedSAMEdgeError, UsageError
from ..files import mapped, temporary_folder
from ..loading import decoder_choice
from ..manifest import GraphEntry
from ..state import StateFolder, brief, origin_of
from ..state_manifest import BlobKey
from .attempts import build_watched
from .board import advice, board, estimate
from .builder import Order
from .engine_file import EngineFacts
from .gpu import Gpu, gpu
from .identity import choice_of, facts_of, key_of, read_engine, timing_key
from .library import library
from .listeners import Step
from .options import (
    PRECISIONS,
    SMALL_BOARD_BOXES,
    BuildOptions,
    buckets,
    check_options,
    is_small,
    workspace_from_text,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What a person asks of `build`, in their words; `capabilities` are for RTX only."""

    precision: str = "auto"
    flavour: str = "enterprise"
    max_boxes: int = 16
    workspace: str = "auto"
    level: int = 3
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """An engine of a bundle.

    Attributes:
        outcome: "reused", "built" or "rebuilt"; `reason` says why it was rebuilt.
        sha256, bytes: Of its file in the state folder.
        facts: What was learned when it was built.
    """

    part: str
    precision: str
    outcome: str
    reason: str
    sha256: str
    bytes: int
    facts: EngineFacts


@dataclass(frozen=True)
class BuildResult:
    """The engines of a bundle on this device. `backend` is what runs them; `advice` says what could be better."""

    bundle: Path
    state: Path
    backend: str
    version: str
    device: dict[str, str]
    advice: tuple[str, ...]
    engines: tuple[Engine, ...]


@dataclass(frozen=True)
class Planned:
    """A graph, and how it will be built."""

    source: GraphSource
    entry: GraphEntry
    choice: BackendChoice
    options: BuildOptions


def plan(bundle: Bundle, request: Request) -> tuple[tuple[Planned, ...], tuple[str, ...]]:
    """Decide everything that a build decides, without building; also what a person could do better.

    Raises:
        UsageError: If a word of the request means nothing.
        BundleError: If the bundle has no graphs for TensorRT in that precision.
    """
    check_options(request.precision, request.flavour, request.level, request.capabilities)
    system, card = board(), None if request.capabilities else _gpu()
    small = card is not None and is_small(card.memory_bytes, card.integrated)
    free = system.free_bytes if card is not None and card.integrated else None
    workspace = workspace_from_text(request.workspace, card.memory_bytes if card else None, free)
    sizes = buckets(request.max_boxes, small)
    options = BuildOptions(request.flavour, sizes, workspace, request.level, request.capabilities)
    choice = choice_of(_precision(bundle, request.precision), request.flavour)
    parts = tuple(_planned(bundle, part.name, choice, options) for part in bundle.manifest.parts)
    notes = advice(system, estimate(max(one.entry.bytes for one in parts), workspace))
    if sizes[-1] < request.max_boxes:
        notes.append(f"this board has {SMALL_BOARD_BOXES} boxes a call at most; more boxes are drawn in several calls")
    return parts, tuple(notes)


def _gpu() -> Gpu | None:
    try:
        return gpu()
    except DriverError:
        return None


def _precision(bundle: Bundle, asked: str) -> str:
    """What `auto` means: the cheapest that the bundle has for TensorRT, since `quantize` keeps only what pays."""
    if asked != "auto":
        return asked
    for precision in PRECISIONS:
        with suppress(BundleError):
            bundle.entry("encoder", precision, "tensorrt")
            return precision
    raise BundleError(
        "graphs for TensorRT in the bundle",
        ", ".join(sorted({target for graph in bundle.manifest.graphs for target in graph.targets})) or "no target",
        "export it again with --target tensorrt",
    )


def _planned(bundle: Bundle, part: str, choice: BackendChoice, options: BuildOptions) -> Planned:
    own = choice if part == "encoder" else decoder_choice(choice)
    entry = bundle.entry(part, own.graph, "tensorrt")
    spec = next(one for one in bundle.manifest.parts if one.name == part)
    verify = partial(verify_graph, bundle.root, entry)
    return Planned(GraphSource(bundle.root / entry.file, spec, entry.sha256, verify), entry, own, options)


def build_engines(bundle: Bundle, request: Request, state: Path, step: Step, say: Say) -> BuildResult:
    """Build what this device lacks.

    Args:
        bundle: The opened bundle.
        request: What was asked for.
        state: The device's folder.
        step: Told of the builder's progress.
        say: Told of each step, and of what could be better.

    Raises:
        UsageError, BundleError: As `plan`.
        MissingExtraError, MachineError, DriverError: As `key_of`.
        MedSAMEdgeError: As `build_watched`; engines that were finished before are kept.
        StorageError: The folder cannot be used or written.
    """
    folder = StateFolder(state)
    parts, notes = plan(bundle, request)
    version = str(library(request.flavour).__version__)
    device = {"built_for": ", ".join(request.capabilities)} if request.capabilities else facts_of(gpu(), board())
    for note in notes:
        say(note)
    engines = tuple(_made(folder, one, step, say) for one in parts)
    return BuildResult(bundle.root, state, parts[0].choice.name, version, device, notes, engines)


def _made(folder: StateFolder, planned: Planned, step: Step, say: Say) -> Engine:
    key, origin = key_of(planned.source, planned.choice, planned.options), origin_of(planned.source.path.parent)
    entry, reason = folder.find(key, origin)
    if entry is not None:
        try:
            facts, _ = read_engine(folder, entry)
            return Engine(key.part, key.graph_precision, "reused", "", entry.sha256, entry.bytes, facts)
        except EngineError as error:
            reason = brief(error)
    say(f"building the {key.part} in {key.graph_precision} with {key.backend} {key.version}")
    planned.source.verify()
    return _built(folder, planned, key, origin, reason, step, say)


def _built(
    folder: StateFolder, planned: Planned, key: BlobKey, origin: str, reason: str, step: Step, say: Say
) -> Engine:
    with temporary_folder() as scratch:
        out, timing = scratch / "engine", scratch / "timing"
        _lend_timing(folder, key, timing)
        order = Order(
            str(planned.source.path.resolve()), key.part, key.graph_precision, planned.options, str(out), str(timing)
        )
        facts = build_watched(order, step, say)
        _check_interface(planned, facts)
        entry = folder.store(key, origin, mapped(out))
        with suppress(MedSAMEdgeError):  # the next build is slower without it, and no worse
            if timing.is_file():
                folder.store(timing_key(key), "", mapped(timing))
    return Engine(
        key.part, key.graph_precision, "rebuilt" if reason else "built", reason, entry.sha256, entry.bytes, facts
    )


def _lend_timing(folder: StateFolder, key: BlobKey, path: Path) -> None:
    entry, _ = folder.find(timing_key(key), "")
    if entry is None:
        return
    memory = bytearray(entry.bytes)
    with suppress(MedSAMEdgeError):  # a damaged one is left out, and replaced by what this build learns
        folder.fill(entry, memoryview(memory))
        path.write_bytes(memory)


def _check_interface(planned: Planned, facts: EngineFacts) -> None:
    """Hold what the parser found against what the manifest says of the graph.

    Raises:
        BundleError: They differ.
    """
    for kind, specs in (("inputs", planned.source.part.inputs), ("outputs", planned.source.part.outputs)):
        found = {port.name: port.dtype for port in facts.ports if port.is_input == (kind == "inputs")}
        if found != {spec.name: spec.dtype for spec in specs}:
            wanted = ", ".join(f"{spec.name} {spec.dtype}" for spec in specs)
            listed = ", ".join(f"{name} {dtype}" for name, dtype in found.items())
            raise BundleError(f"the {kind} {wanted} in the {facts.part}", listed or "none", "export the bundle again")


def commands(bundle: Bundle, request: Request) -> tuple[str, ...]:
    """Write each build as a call of `trtexec`, for a person to try by hand.

    Raises:
        UsageError, BundleError: As `plan`.
    """
    if request.flavour != "enterprise":
        raise UsageError("--dry-run with --flavour enterprise", request.flavour, "leave --flavour out: trtexec is its")
    return tuple(_command(one) for one in plan(bundle, request)[0])


def _command(planned: Planned) -> str:
    options, path = planned.options, planned.source.path
    words = [
        f"trtexec --onnx={path} --stronglyTyped --noTF32",
        f"--memPoolSize=workspace:{options.workspace_bytes // 2**20}M",
        f"--builderOptimizationLevel={options.level} --profilingVerbosity=detailed",
        f"--saveEngine={planned.entry.part}_{planned.entry.precision}.plan",
    ]
    dynamic = [spec for spec in planned.source.part.inputs if "N" in spec.shape]
    for index, size in enumerate(options.buckets if dynamic else ()):
        shapes = ",".join(f"{spec.name}:{_dims(spec.shape, size)}" for spec in dynamic)
        words.append(f"--profile={index} --minShapes={shapes} --optShapes={shapes} --maxShapes={shapes}")
    return " \\\n    ".join(words)


def _dims(shape: tuple[int | str, ...], size: int) -> str:
    return "x".join(str(size if side == "N" else side) for side in shape)
