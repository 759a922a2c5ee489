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
from .qdq import Style
from .scores import Limits
from .three_sets import ThreeSets
from .trial import Trial
from .wanted import ATTENTION_TARGETS, Wanted


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

    def of(self, one: Wanted) -> Encoder:
        """Return the encoder of a candidate; a search for it takes long."""
        match one.choice.graph:
            case "int8":
                return _int8_encoder(self.int8, one.attention)
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
        wide = self.base.name in ATTENTION_TARGETS
        style = Style.UNSIGNED if wide else Style.SIGNED
        trial = self.trial
        graphs = Int8Graphs(model, profile, self.cases.calibration, trial.journal, trial.progress, style, wide)
        return chosen_int8(graphs, self.trial, self.cases.selection, self.base, self.limits)


def _int8_encoder(int8: Int8Choice, attention: bool) -> Encoder:
    kept, data = int8.found.kept_float, int8.with_attention if attention else int8.data
    if kept is None:
        return Encoder(None, len(data), objection="no choice of blocks keeps the limits on the selection cases")
    if attention and kept >= int8.attention:
        return Encoder(None, len(data), objection="attention has to stay in float on the selection cases")
    return Encoder(data, len(data), str(int8.recipe), tuple(sorted(kept if attention else kept | int8.attention)))
