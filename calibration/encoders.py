"""How each candidate's encoder is made: the bundle's own graph, or one that was searched for, each once."""

from dataclasses import dataclass
from functools import cached_property

import onnx

from ..runtime.backends.base import BackendChoice
from ..runtime.loading import entry_of
from ..runtime.manifest import GraphEntry
from ..runtime.profile import Profile
from .int8_choice import Int8Choice, chosen_int8
from .int8_graphs import Int8Graphs
from .scores import Limits
from .three_sets import ThreeSets
from .trial import Trial


@dataclass(frozen=True, eq=False)
class Encoder:
    """What a candidate runs.

    Attributes:
        data: An ONNX file that is in no bundle yet, or None for the bundle's own.
        bytes: Its size.
        recipe: How its ranges were chosen; "" where it has none.
        kept_float: Blocks that stay in float.
        objection: Why there is none to be judged; "" where there is.
    """

    data: bytes | None
    bytes: int
    recipe: str = ""
    kept_float: tuple[str, ...] = ()
    objection: str = ""


@dataclass(frozen=True, eq=False)
class Encoders:
    """Makes encoders when they are first asked for.

    Attributes:
        trial: What masks are drawn with.
        cases: To find ranges and to choose by.
        base: The float32 backend that candidates are held against.
        limits: What may be lost.
    """

    trial: Trial
    cases: ThreeSets
    base: BackendChoice
    limits: Limits

    def of(self, choice: BackendChoice) -> Encoder:
        """Return the encoder of a candidate; a search for it takes long."""
        match choice.graph:
            case "int8":
                return _int8_encoder(self.int8)
            case _:
                return Encoder(None, self.entry.bytes + sum(weights.bytes for weights in self.entry.weights))

    @cached_property
    def entry(self) -> GraphEntry:
        """The float32 graph that others are made from."""
        return entry_of(self.trial.bundle, "encoder", self.base)

    @property
    def searched(self) -> Int8Choice | None:
        """The search for int8, where there was one."""
        return self.__dict__.get("int8")

    @cached_property
    def int8(self) -> Int8Choice:
        """The int8 graph. The float32 model and its statistics are held no longer than the search."""
        model = onnx.load(self.trial.bundle.root / self.entry.file)
        profile = Profile.from_dict(self.trial.bundle.manifest.profile)
        graphs = Int8Graphs(model, profile, self.cases.calibration, self.trial.journal, self.trial.progress)
        return chosen_int8(graphs, self.trial, self.cases.selection, self.base, self.limits)


def _int8_encoder(int8: Int8Choice) -> Encoder:
    if int8.found.kept_float is None:
        objection = "no choice of blocks keeps the limits on the selection cases"
        return Encoder(None, len(int8.data), objection=objection)
    return Encoder(int8.data, len(int8.data), str(int8.recipe), tuple(sorted(int8.found.kept_float)))
