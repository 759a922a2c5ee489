"""Which precisions a plan asks to be tried on its target, and which of them this machine computes in at all."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..runtime.backends.base import BackendChoice
from ..runtime.backends.choose import resolve
from ..runtime.errors import MachineError
from ..runtime.machine import processor_features, processor_name
from .plan import Plan

ATTENTION_TARGETS = frozenset({"openvino"})
"""Where int8 products of attention have fast kernels; TensorRT's fused attention takes none of this size."""
BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class Wanted:
    """One candidate.

    Attributes:
        choice: The backend, the graph's precision, and what is not int8 in it.
        attention: Whether the int8 graph has products of attention in int8 too (`products`).
    """

    choice: BackendChoice
    attention: bool = False

    def __str__(self) -> str:
        return f"{self.choice}, attention too" if self.attention else str(self.choice)


def wanted(plan: Plan) -> tuple[Wanted, ...]:
    """Return what is to be tried, the widest first; float32 is what they are held against and is not among them.

    `auto` and `int8` take bf16 along where the processor has it.

    Raises:
        MissingExtraError: The target's library is not installed.
        MachineError: bf16 was asked for by name, and this processor has none.
    """
    base = resolve(plan.target)
    if "bf16" in plan.precision and not has_bf16():
        remedy = "use --precision int8, or run it on a processor that has bf16"
        raise MachineError(f"a processor with {' or '.join(sorted(BF16_FEATURES))}", processor_name(), remedy)
    layers = tuple(map(Wanted, _choices(base, plan, bf16=plan.target == "openvino" and has_bf16())))
    more = (replace(one, attention=True) for one in layers if one.choice.graph == "int8")
    return (*layers, *(more if plan.target in ATTENTION_TARGETS else ()))


def has_bf16() -> bool:
    """Tell whether this processor computes in bf16; without it a library converts back and forth, or does not obey."""
    return not BF16_FEATURES.isdisjoint(processor_features())


def _choices(base: BackendChoice, plan: Plan, *, bf16: bool) -> Iterator[BackendChoice]:
    if bf16 and plan.precision in ("auto", "bf16"):
        yield replace(base, precision="bf16")
    if plan.precision in ("auto", "int8"):
        yield replace(base, graph="int8")
    if bf16 and plan.precision in ("auto", "int8", "int8+bf16"):
        yield replace(base, graph="int8", precision="bf16")
