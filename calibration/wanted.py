"""Which precisions a plan asks to be tried on its target, and which of them this machine computes in at all."""

from collections.abc import Iterator
from dataclasses import replace

from ..runtime.backends.base import BackendChoice
from ..runtime.backends.choose import resolve
from ..runtime.errors import MachineError
from ..runtime.machine import processor_features, processor_name
from .plan import Plan

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})


def wanted(plan: Plan) -> tuple[BackendChoice, ...]:
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
    return tuple(_choices(base, plan, bf16=plan.target == "openvino" and has_bf16()))


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
