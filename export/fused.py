"""How operators are written where the exporter's own way is one that no runtime fuses."""

import math
from collections.abc import Callable
from typing import Any

import torch
from onnxscript import FLOAT
from onnxscript import opset18 as op


def gelu(x: FLOAT, approximate: str = "none") -> FLOAT:
    """Write x Φ(x) as `(x / 2) (1 + erf(x / √2))`, the product that ONNX Runtime and OpenVINO take for one operator.

    The exporter halves the second factor instead, which ONNX Runtime 1.32 runs as five operators, each a pass over the
    tensor. Halving first also keeps float16 within its range.

    Args:
        x: The exporter's symbol of a tensor.
        approximate: "none" is all that these models use.
    """
    if approximate != "none":
        raise ValueError(f"an exact GELU is expected, found one approximated by {approximate}: write it in fused.py")
    half, one, root = (_constant(value, x) for value in (0.5, 1.0, math.sqrt(2.0)))
    return op.Mul(op.Mul(x, half), op.Add(op.Erf(op.Div(x, root)), one))


def _constant(value: float, x: FLOAT) -> FLOAT:
    # The stubs of CastLike take no tensor whose type is only known when it is traced.
    return op.CastLike(op.Constant(value_float=value), x)  # type: ignore[type-var]


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.gelu.default: gelu}
"""For `custom_translation_table` of `torch.onnx.export`."""
