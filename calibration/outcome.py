"""What `quantize` found: every candidate, the one that is kept, and why the others are not."""

from dataclasses import dataclass

from ..runtime.errors import ExitCode
from .scores import Drop, Limits
from .search import Sensitivity, Tried
from .speed import Speed


@dataclass(frozen=True)
class RecipeRow:
    """What a way to choose ranges does to masks, all blocks in int8, on the selection cases.

    `objection` says why it is out: its masks are not finite numbers.
    """

    recipe: str
    mean_parity: float | None
    mean_drop: float | None
    objection: str = ""


@dataclass(frozen=True)
class LayerDecision:
    """What became of one layer in the int8 encoder.

    Attributes:
        layer: As `layers.Layer.name`: "blocks.3.mlp.lin1".
        block: Its block: the sensitivity of the layer is that of its block.
        scale: What one int8 step of its input is worth, or None: it stays in float. Weights have a scale for each
            output channel, which stands in the graph.
    """

    layer: str
    block: str
    scale: float | None


@dataclass(frozen=True)
class Candidate:
    """One precision on the target.

    Attributes:
        backend: As `--backend` takes it: "openvino:CPU:int8".
        bytes: Size of the encoder's file.
        memory_bytes: Peak resident size of a process that opens this candidate alone and answers one image, or None:
            unmeasured.
        recipe: How its ranges were chosen; "" where it has none.
        kept_float: Blocks that stay in float.
        drop: What its masks lose on the evaluation cases, or None where it was not judged.
        median_ms: Its encoder's median, or None: unmeasured. Only what one run took by turns may be compared.
        speed: How it compares with the candidate that it has to beat, or None: unmeasured, or the widest.
        objections: Why it is not kept; empty where nothing speaks against it.
        chosen: Whether it is the one.
        attention: Whether products of attention are in int8 too.
    """

    backend: str
    bytes: int
    memory_bytes: int | None
    recipe: str
    kept_float: tuple[str, ...]
    drop: Drop | None
    median_ms: float | None
    speed: Speed | None
    objections: tuple[str, ...]
    chosen: bool = False
    attention: bool = False

    def __str__(self) -> str:
        return f"{self.backend}, attention too" if self.attention else self.backend


@dataclass(frozen=True)
class Outcome:
    """The result of `quantize`.

    Attributes:
        bundle: The folder.
        digest: The bundle's digest afterwards.
        target: The backend that the graphs are for.
        gating: False for random weights: their masks prove nothing, and nothing is refused for them.
        limits: What a candidate may lose.
        margin: By how much it must be faster.
        warnings: What the cases cannot show.
        recipes: Ways to choose ranges, tried on the selection cases.
        sensitivities: Blocks by what int8 in each alone does, on the selection cases.
        tried: Choices of blocks that were judged.
        layers: Every layer that can run in int8, as it is in the int8 encoder; empty where there is none.
        candidates: Every precision, the widest first.
        notes: What else a person should know.
        peak_mib: The most memory that the process had taken when this was found, whatever it did before.
        reused: Whether the bundle or the journal held this result already and nothing was done.
        chosen: The backend to use, or None where nothing passed.
    """

    bundle: str
    digest: str
    target: str
    gating: bool
    limits: Limits
    margin: float
    warnings: tuple[str, ...]
    recipes: tuple[RecipeRow, ...]
    sensitivities: tuple[Sensitivity, ...]
    tried: tuple[Tried, ...]
    layers: tuple[LayerDecision, ...]
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    peak_mib: float
    reused: bool
    chosen: str | None


def exit_code(outcome: Outcome) -> ExitCode:
    """Return what the verb ends with: 4 where no candidate keeps the limits, 5 where one does and none pays."""
    if outcome.chosen is not None:
        return ExitCode.OK
    return ExitCode.SPEED if any(one.speed for one in outcome.candidates) else ExitCode.PARITY
