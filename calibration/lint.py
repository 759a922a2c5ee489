"""Checks a Q/DQ graph against what TensorRT's parser takes and what ONNX Runtime runs fast, whoever wrote it.

Each rule was seen on the real parser or costs accuracy where it is broken; a finding says which node broke which rule.
It judges no values of weights and no choice of layers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from .graph_index import GraphIndex
from .layers import KINDS

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
FLOAT_ONLY = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax")
# Operators that move numbers about and compute nothing: what they pass on is as quantised as what they were given.
MOVES = (
    "Reshape",
    "Transpose",
    "Slice",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "Expand",
    "Identity",
    "Cast",
    "Pad",
)
NEWEST_OPSET, CHANNEL_OPSET, HALF_OPSET = 20, 13, 19


@dataclass(frozen=True)
class Finding:
    """One rule broken at one place.

    Attributes:
        rule: "opset", "int8", "zero-point", "scale", "stored", "pair", "bias", "channels", "both", "float".
        node: The node's name, or "" for the whole graph.
        found: What stands there and should not.
    """

    rule: str
    node: str
    found: str


def lint(model: onnx.ModelProto) -> tuple[Finding, ...]:
    """Return every broken rule, in the graph's order; nothing where the graph may be handed on.

    - opset: 13 to 20, and 19 at least for float16 scales;
    - int8: no uint8 (also what QuantizeLinear means without a zero point), nor any other type;
    - zero-point: all 0, so symmetric;
    - scale: a constant, finite and positive; one number for an activation;
    - stored: a weight is stored as int8, not rounded at run time from a float constant;
    - pair: DequantizeLinear reads QuantizeLinear or an int8 constant, and QuantizeLinear feeds nothing else;
    - bias: no DequantizeLinear of int32;
    - channels: a weight has a scale for each output channel;
    - both: a layer's input and weight are quantised, or neither;
    - float: norms, softmax and products of two activations read nothing quantised.
    """
    index = GraphIndex(model)
    version = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    found = [*_opset(index, model, version)]
    for node in model.graph.node:
        for kinds, rule in RULES:
            if node.op_type in kinds:
                found += rule(index, node)
    return tuple(found)


def _opset(index: GraphIndex, model: onnx.ModelProto, version: int) -> Iterator[Finding]:
    scales = [index.constants.get(node.input[1]) for node in _quantisers(model)]
    half = any(scale is not None and scale.data_type == TensorProto.FLOAT16 for scale in scales)
    least = HALF_OPSET if half else CHANNEL_OPSET
    if scales and not least <= version <= NEWEST_OPSET:
        yield Finding("opset", "", f"{version}, where {least} to {NEWEST_OPSET} would do")


def _quantisers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in (QUANTISE, DEQUANTISE)]


def _int8(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    zero = index.constants.get(node.input[2]) if len(node.input) > 2 else None
    stored = index.constants.get(node.input[0]) if node.op_type == DEQUANTISE else None
    kinds = {one.data_type for one in (zero, stored) if one is not None}
    if stored is not None and stored.data_type == TensorProto.INT32:
        return  # a rule of its own
    if node.op_type == QUANTISE and zero is None:
        yield Finding("int8", node.name, "no zero point, which means uint8")
    for kind in kinds - {TensorProto.INT8}:
        yield Finding("int8", node.name, TensorProto.DataType.Name(kind).lower())


def _zero_point(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    if len(node.input) < 3:
        return
    if node.input[2] not in index.constants:
        yield Finding("zero-point", node.name, "computed at run time")
    elif index.array(node.input[2]).any():
        yield Finding("zero-point", node.name, f"up to {np.abs(index.array(node.input[2]).astype(int)).max()}")


def _scale(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    if node.input[1] not in index.constants:
        yield Finding("scale", node.name, "computed at run time")
        return
    scale = index.array(node.input[1])
    if not (np.isfinite(scale) & (scale > 0)).all():
        yield Finding("scale", node.name, f"{scale.min()} to {scale.max()}")
    if scale.size != 1 and _constant_behind(index, node) is None:
        yield Finding("scale", node.name, f"{scale.size} scales for an activation")


def _stored(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    if node.input[0] in index.constants:
        yield Finding("stored", node.name, f"{node.input[0]} is a float constant")


def _read_by_dequantise(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    for reader in index.readers.get(node.output[0], []):
        if reader.op_type != DEQUANTISE:
            yield Finding("pair", node.name, f"{reader.op_type} {reader.name} reads int8")


def _fed_by_quantise(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    maker = index.makers.get(node.input[0])
    if node.input[0] not in index.constants and (maker is None or maker.op_type != QUANTISE):
        yield Finding("pair", node.name, f"{node.input[0]} comes from {maker.op_type if maker else 'outside'}")


def _bias(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    stored = index.constants.get(node.input[0])
    if stored is not None and stored.data_type == TensorProto.INT32:
        yield Finding("bias", node.name, f"{node.input[0]} is int32")


def _layer(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    activation, weight = (_dequantised(index, name) for name in node.input[:2])
    stored = _constant_behind(index, weight)
    if weight is not None and stored is not None:
        yield from _channels(node, weight, stored, index.constants.get(weight.input[1]))
        if activation is None:
            yield Finding("both", node.name, "the weight is quantised, the input is not")
    elif activation is not None and node.input[1] in index.constants:
        yield Finding("both", node.name, "the input is quantised, the weight is not")
    elif activation is not None or weight is not None:
        yield Finding("float", node.name, "a product of two activations reads a quantised tensor")


def _constant_behind(index: GraphIndex, node: onnx.NodeProto | None) -> TensorProto | None:
    """Return the constant that a node reads, or that the QuantizeLinear before it rounds."""
    if node is None:
        return None
    maker = index.makers.get(node.input[0])
    if maker is not None and maker.op_type == QUANTISE:
        node = maker
    return index.constants.get(node.input[0])


def _channels(
    node: onnx.NodeProto, weight: onnx.NodeProto, stored: TensorProto, scale: TensorProto | None
) -> Iterator[Finding]:
    attributes = {one.name: helper.get_attribute_value(one) for one in (*node.attribute, *weight.attribute)}
    axis = 0 if node.op_type == "Conv" or attributes.get("transB") else len(stored.dims) - 1
    given, dims = attributes.get("axis", 1) % len(stored.dims), list(scale.dims) if scale is not None else []
    if given != axis or dims != [stored.dims[axis]]:
        found = f"scales {dims} along axis {given} of a weight {list(stored.dims)}, not along axis {axis}"
        yield Finding("channels", node.name, found)


def _float(index: GraphIndex, node: onnx.NodeProto) -> Iterator[Finding]:
    if any(_dequantised(index, name) for name in node.input):
        yield Finding("float", node.name, f"{node.op_type} reads a quantised tensor")


def _dequantised(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """Return the DequantizeLinear that a tensor comes from, if any, through operators that only move numbers."""
    waiting = [name]
    while waiting:
        maker: onnx.NodeProto | None = index.makers.get(waiting.pop())
        if maker is None:
            continue
        if maker.op_type == DEQUANTISE:
            return maker
        if maker.op_type in MOVES:
            waiting += maker.input if maker.op_type == "Concat" else maker.input[:1]
    return None


_Rule = Callable[[GraphIndex, onnx.NodeProto], Iterator[Finding]]
RULES: tuple[tuple[tuple[str, ...], _Rule], ...] = (
    ((QUANTISE, DEQUANTISE), _int8),
    ((QUANTISE, DEQUANTISE), _zero_point),
    ((QUANTISE, DEQUANTISE), _scale),
    ((QUANTISE,), _stored),
    ((QUANTISE,), _read_by_dequantise),
    ((DEQUANTISE,), _fed_by_quantise),
    ((DEQUANTISE,), _bias),
    (KINDS, _layer),
    (FLOAT_ONLY, _float),
)
