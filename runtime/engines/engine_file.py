"""An engine with what was found out about it when it was built, as one file and so under one hash.

    "medsam-edge engine 1\\n", the length of the facts in 8 bytes, the facts in JSON, zeros up to a multiple of 64, and
    the plan

The plan is the library's own and means something to the same library on the same device only. Nothing here is native.
"""

import json
from dataclasses import asdict, dataclass

from ..errors import EngineError, MedSAMEdgeError
from ..manifest import load_object
from ..schema import from_json
from .census import Census

MAGIC = b"medsam-edge engine 1\n"
_ALIGN = 64
_MOST = 1 << 20


@dataclass(frozen=True)
class Port:
    """An input or output of an engine. `shape` has -1 for the number of boxes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_input: bool


@dataclass(frozen=True)
class LayerShare:
    """What the finished engine says of its own layers, where the machine that built it could load it.

    Attributes:
        by_type: Type of the output ("fp16") to the number of layers.
        opaque: Layers that the library fused and does not show the inside of.
        attention: "fused", "not fused" or "unproven".
    """

    by_type: dict[str, int]
    opaque: int
    attention: str


@dataclass(frozen=True)
class EngineFacts:
    """What the builder learned.

    Attributes:
        part: "encoder" or "decoder".
        precision: Of its graph, "fp16".
        buckets: The number of boxes of each profile; one 1 for a graph without boxes.
        ports: Inputs and outputs.
        census: Types of the parsed network.
        activation_bytes: What the builder planned for each profile.
        device_memory_bytes: What the loaded engine asks for; None where it could not be loaded.
        weight_bytes: Weights in the engine.
        layers: What the loaded engine shows of itself, or None.
        seconds: The build.
        level, workspace_bytes: With which it succeeded.
        warnings: The library's own, shortened.
    """

    part: str
    precision: str
    buckets: tuple[int, ...]
    ports: tuple[Port, ...]
    census: Census
    activation_bytes: tuple[int, ...]
    device_memory_bytes: int | None
    weight_bytes: int
    layers: LayerShare | None
    seconds: float
    level: int
    workspace_bytes: int
    warnings: tuple[str, ...]

    @property
    def attention(self) -> str:
        """Whether scores of attention are held in memory: "fused", "not fused", "none" or "unproven".

        Activation memory below that of one softmax's input proves that it is not.
        """
        if not self.census.scores_bytes:
            return "none"
        if self.activation_bytes and min(self.activation_bytes) < self.census.scores_bytes:
            return "fused"
        return self.layers.attention if self.layers else "unproven"


def header(facts: EngineFacts) -> bytes:
    """Return what stands before the plan."""
    text = json.dumps(asdict(facts), ensure_ascii=False, allow_nan=False).encode()
    start = MAGIC + len(text).to_bytes(8, "little") + text
    return start + bytes(-len(start) % _ALIGN)


def split(data: memoryview) -> tuple[EngineFacts, memoryview]:
    """Take a file apart into the facts and the plan.

    Raises:
        EngineError: It is no such file.
    """
    start = len(MAGIC) + 8
    length = int.from_bytes(data[len(MAGIC) : start], "little")
    if bytes(data[: len(MAGIC)]) != MAGIC or not length <= min(_MOST, len(data) - start):
        raise _broken("something else")
    try:
        facts = from_json(EngineFacts, load_object(bytes(data[start : start + length])), "engine")
    except MedSAMEdgeError as error:
        raise _broken(error.found) from error
    end = start + length
    return facts, data[end + -end % _ALIGN :]


def _broken(found: str) -> EngineError:
    return EngineError("an engine as medsam-edge writes it", found, "build it again: `medsam-edge build BUNDLE`")
