"""What a state folder says about itself: every compiled model in it, and what each was compiled from and for.

The twin of `manifest`, for a folder that belongs to one device and may be thrown away at any time. It knows neither
the disk, which is `state`, nor what compiles.
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace

from medsam_edge import __version__

from .errors import BundleError
from .manifest import canonical, check_digest, load_object
from .schema import from_json, to_json

FAMILY = "medsam-edge/state/"
STATE_SCHEMA = FAMILY + "1"
BLOB_SUFFIX = ".blob"
MAX_BLOBS = 16
"""More than one device has bundles and backends for; the oldest go first."""


@dataclass(frozen=True)
class BlobKey:
    """Everything that can change a compiled model: it is used again only where all of this is the same.

    Attributes:
        part: "encoder" or "decoder".
        graph: SHA-256 of the ONNX file.
        graph_precision: "fp32", or "int8".
        backend: The library.
        version: Its full version, with the build.
        device: The library's name of the device.
        device_facts: What the library says of it: full name, architecture, driver.
        capabilities: The instructions and number formats that decide which code is made.
        precision: Execution precision that was asked for.
        threads: CPU threads that were asked for, or None.
        properties: The build options, as the library was given them.
        toolkit_version: Version of medsam-edge.
    """

    part: str
    graph: str
    graph_precision: str
    backend: str
    version: str
    device: str
    device_facts: dict[str, str]
    capabilities: tuple[str, ...]
    precision: str
    threads: int | None
    properties: dict[str, str]
    toolkit_version: str

    def serves(self) -> tuple[str, str, str, str, str, int | None]:
        """What a person chose: the same choice asks for the same blob, or for one that replaces it."""
        return self.part, self.graph_precision, self.backend, self.device, self.precision, self.threads

    def differences(self, wanted: "BlobKey") -> str:
        """Name each field in which another key is not this one: "version was 2026.3, is 2026.4"."""
        pairs = ((field.name, getattr(self, field.name), getattr(wanted, field.name)) for field in fields(self))
        return "; ".join(f"{name} was {_short(old)}, is {_short(new)}" for name, old, new in pairs if old != new)


@dataclass(frozen=True)
class BlobEntry:
    """A compiled model in the folder. `origin` is where its graph lay: a new graph there replaces it."""

    key: BlobKey
    origin: str
    file: str
    sha256: str
    bytes: int

    def replaced_by(self, other: "BlobEntry") -> bool:
        """Whether nobody will ask for this one again once the other is there."""
        same_graph = self.key.graph == other.key.graph
        return self.key.serves() == other.key.serves() and (same_graph or self.origin == other.origin)


@dataclass(frozen=True)
class StateManifest:
    """The whole of `state.json`. The oldest blob stands first."""

    schema: str
    toolkit_version: str
    blobs: tuple[BlobEntry, ...]
    digest: str

    def without(self, entry: BlobEntry) -> "StateManifest":
        """Drop what an entry replaces, and the oldest where there would be too many."""
        kept = tuple(blob for blob in self.blobs if not blob.replaced_by(entry))
        return replace(self, blobs=kept[-(MAX_BLOBS - 1) :])

    def plus(self, entry: BlobEntry) -> "StateManifest":
        """Add an entry."""
        others = self.without(entry)
        return replace(others, blobs=(*others.blobs, entry))


EMPTY = StateManifest(STATE_SCHEMA, __version__, (), "")


def blob_name(sha256: str) -> str:
    """The only name that a blob with this content may have."""
    return sha256 + BLOB_SUFFIX


def encode_state(manifest: StateManifest) -> bytes:
    """The bytes of `state.json`, with the digest of what it says.

    Raises:
        BundleError: It holds something that JSON cannot.
    """
    fresh = replace(manifest, toolkit_version=__version__)
    try:
        digest = hashlib.sha256(canonical(to_json(fresh))).hexdigest()
        text = json.dumps(to_json(replace(fresh, digest=digest)), indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8")
    except ValueError as error:
        raise BundleError("a manifest that JSON can hold", str(error), "choose plain names and paths") from error


def parse_state(data: bytes) -> StateManifest:
    """Read a state folder's manifest that may be damaged.

    Raises:
        BundleError: Another schema, a digest that does not fit, a file name that is not its hash.
    """
    raw = load_object(data)
    if raw.get("schema") != STATE_SCHEMA:
        raise BundleError(f"the schema {STATE_SCHEMA}", _short(raw.get("schema")), "let it be built again")
    check_digest(raw)
    manifest = from_json(StateManifest, raw, "state")
    for entry in manifest.blobs:
        if entry.file != blob_name(entry.sha256):
            raise BundleError(f"a file named {blob_name(entry.sha256)}", _short(entry.file), "let it be built again")
    return manifest


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
