"""Lists the products of attention: scores, queries with keys, and the sums of values by their softmax.

Both factors are activations, so they are no layers (`layers`). TensorRT and ONNX Runtime keep them float. OpenVINO's
CPU kernels multiply int8 some four times as fast as float32, and bfloat16 hardly faster without AMX, so there they are
worth a try. Relative positions are products with a table and stay float.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from .graph_index import GraphIndex
from .layers import Layer, quantisable

ATTENTION = "attention"
_WITHIN_SCORES = frozenset({"Add", "Mul", "Div", "Cast"})
"""What may stand between a product of queries and keys and its softmax: scaling, relative positions, a mask."""


@dataclass(frozen=True)
class Product:
    """One product of two activations inside an attention.

    Attributes:
        output: The tensor that it makes; a form that splits heads or rows has several in one attention.
        left, right: Its factors: queries and transposed keys, or the softmax and values.
        of_softmax: Whether `left` is a softmax, which is never negative.
        block: "blocks.3.attention": they are kept in float together, apart from the linear layers of "blocks.3".
    """

    output: str
    left: str
    right: str
    of_softmax: bool
    block: str


def products(model: onnx.ModelProto) -> tuple[Product, ...]:
    """List the products of a float graph, in its order."""
    index, layers = GraphIndex(model), {layer.input: layer for layer in quantisable(model)}
    return tuple(_products(index, layers, model))


def _products(index: GraphIndex, layers: dict[str, Layer], model: onnx.ModelProto) -> Iterator[Product]:
    for node in model.graph.node:
        if node.op_type != "MatMul" or any(name in index.constants for name in node.input):
            continue
        left, right = node.input
        maker = index.makers.get(left)
        of_softmax = maker is not None and maker.op_type == "Softmax"
        if of_softmax or _reaches_softmax(index, node.output[0]):
            block = f"{_block(index, layers, node.output[0])}.{ATTENTION}"
            yield Product(node.output[0], left, right, of_softmax, block)


def _reaches_softmax(index: GraphIndex, name: str) -> bool:
    """Whether scores become a softmax through nothing but what changes each by itself."""
    for reader in index.readers.get(name, ()):
        if reader.op_type == "Softmax":
            return True
        if reader.op_type in _WITHIN_SCORES and _reaches_softmax(index, reader.output[0]):
            return True
    return False


def _block(index: GraphIndex, layers: dict[str, Layer], start: str) -> str:
    """Follow the graph to the first layer behind an attention: its projection, which tells the block."""
    waiting, seen = [start], {start}
    while waiting:
        name = waiting.pop(0)
        if name in layers:
            return layers[name].block
        for made in (name for reader in index.readers.get(name, ()) for name in reader.output if name not in seen):
            seen.add(made)
            waiting.append(made)
    return "output"
