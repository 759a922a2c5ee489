"""What `quantize` is asked for."""

from dataclasses import dataclass, field

from ..runtime.errors import UsageError
from .scores import Limits

PRECISIONS = ("auto", "int8", "int8+bf16", "bf16")
TARGETS = ("openvino", "onnxruntime")


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        target: "openvino" or "onnxruntime", on this machine's CPU.
        precision: One of `PRECISIONS`.
        limits: What may be lost.
        margin: Times as fast as the next wider precision that a candidate has to be.
        rounds: Interleaved runs of each encoder; even, so that each of two comes first as often.
    """

    target: str = "openvino"
    precision: str = "auto"
    limits: Limits = field(default_factory=Limits)
    margin: float = 1.1
    rounds: int = 10

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UsageError(f"a target among {', '.join(TARGETS)}", repr(self.target), "name one after --target")
        if self.precision not in PRECISIONS:
            raise UsageError(f"a precision among {', '.join(PRECISIONS)}", repr(self.precision), "auto tries them all")
        if "bf16" in self.precision and self.target != "openvino":
            raise UsageError(
                f"{self.precision} on the target openvino", self.target, "ONNX Runtime has no bf16 on CPUs"
            )
        if not self.margin >= 1:
            raise UsageError("a margin of at least 1", f"{self.margin}", "1.1 is ten percent faster")
