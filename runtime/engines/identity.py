"""What an engine was built from and for, and whether this machine may use it again.

An engine is code of one library for one device, so it is used only where everything that can change it is what it was,
and where this device's own state folder lists it with its hash.
"""

import os
from dataclasses import replace
from pathlib import Path

from medsam_edge import __version__

from ..backends.base import BackendChoice, GraphSource
from ..errors import BundleError, EngineError
from ..state import StateFolder
from ..state_manifest import BlobEntry, BlobKey
from .board import Board, board
from .engine_file import EngineFacts, split
from .gpu import Gpu, gpu
from .library import library
from .options import BuildOptions

BACKENDS = {"enterprise": "tensorrt", "rtx": "tensorrt-rtx"}
FLAVOURS = {name: flavour for flavour, name in BACKENDS.items()}
TIMING = "timing cache"
_REBUILD = "build it on this device: `medsam-edge build BUNDLE --precision {}{}`"


def default_state() -> Path:
    """Return where engines of this device are kept unless somebody names another folder."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "medsam-edge"


def choice_of(precision: str, flavour: str) -> BackendChoice:
    """Return the backend that runs engines of a precision: "fp16" is `tensorrt:GPU:f16`."""
    words = "f32" if precision == "fp32" else "f16"
    return BackendChoice(BACKENDS[flavour], "GPU", words, graph=precision)


def facts_of(found: Gpu, system: Board) -> dict[str, str]:
    """Return what tells one device from another."""
    facts = {"name": found.name, "compute_capability": found.capability, "driver": found.driver}
    return {**facts, "l4t": system.l4t, "jetpack": system.jetpack or "unknown"} if system.l4t else facts


def key_of(source: GraphSource, choice: BackendChoice, options: BuildOptions | None = None) -> BlobKey:
    """Return the key of an engine for this machine, or for the capabilities that the options name.

    Args:
        source: The graph.
        choice: The backend and its precision.
        options: How it is built; None leaves `properties` empty: any options will do.

    Raises:
        MissingExtraError, MachineError: As `library`.
        DriverError: There is no GPU here, and none is named.
    """
    trt = library(FLAVOURS[choice.name])
    targets = options.capabilities if options else ()
    facts = {"built_for": ", ".join(targets)} if targets else facts_of(gpu(), board())
    return BlobKey(
        part=source.part.name,
        graph=source.sha256,
        graph_precision=choice.graph,
        backend=choice.name,
        version=str(trt.__version__),
        device=choice.device,
        device_facts=facts,
        capabilities=(),
        precision=choice.precision,
        threads=None,
        properties=options.properties() if options else {},
        toolkit_version=__version__,
    )


def timing_key(key: BlobKey) -> BlobKey:
    """Return the key of the timing cache beside an engine: one for each device and library."""
    return replace(key, part=TIMING, graph="", graph_precision="", precision="", properties={})


def find_engine(folder: StateFolder, source: GraphSource, choice: BackendChoice) -> BlobEntry:
    """Return this device's engine of a graph, whatever it was built with.

    Raises:
        EngineError: There is none, or only those of another device, library or graph; the message says which.
        MissingExtraError, MachineError, DriverError: As `key_of`.
    """
    wanted = key_of(source, choice)
    manifest, damage = folder.read()
    reasons = [damage] if damage else []
    for entry in reversed(manifest.blobs):
        if entry.key.serves() == wanted.serves():
            reason = objection(entry.key, wanted)
            if not reason:
                return entry
            reasons.append(f"one that does not serve: {reason}")
    words = f"an engine of the {source.part.name} in {choice.graph} for this device"
    flavour = " --flavour rtx" if choice.name == BACKENDS["rtx"] else ""
    found = "; ".join(reasons[:3]) or f"none in {folder.root}"
    raise EngineError(words, found, _REBUILD.format(choice.graph, flavour))


def objection(key: BlobKey, wanted: BlobKey) -> str:
    """Say why an engine cannot be used where another is wanted; its build options are no reason."""
    return replace(key, properties={}).differences(replace(_as_built(key, wanted), properties={}))


def _as_built(key: BlobKey, wanted: BlobKey) -> BlobKey:
    """An engine that was built for named capabilities serves a GPU that has one of them."""
    built_for = key.device_facts.get("built_for", "").split(", ")
    return replace(wanted, device_facts=key.device_facts) if _capability(wanted) in built_for else wanted


def _capability(key: BlobKey) -> str:
    return key.device_facts.get("compute_capability", "none")


def read_engine(folder: StateFolder, entry: BlobEntry) -> tuple[EngineFacts, memoryview]:
    """Read an engine, hashed against this device's manifest in the memory in which the library gets it.

    Raises:
        EngineError: It is missing, shortened or altered.
        StorageError: It cannot be read.
    """
    try:
        folder.check_size(entry)
        memory = memoryview(bytearray(entry.bytes))
        folder.fill(entry, memory)
    except BundleError as error:
        raise EngineError(error.expected, error.found, "build it again: `medsam-edge build BUNDLE`") from error
    return split(memory)
