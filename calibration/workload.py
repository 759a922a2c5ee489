"""The products that a float encoder's graph is made of: what its linear layers multiply, and what its attention does.

Counted from the graph, not from the network's sizes: padding that the graph leaves out is not counted, and windows that
it pads are. Relative positions, norms, softmax and everything else without a product of this kind are no part of it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import onnx

from .graph_index import GraphIndex
from .graph_tensors import tensor_shapes
from .layers import Layer, quantisable


@dataclass(frozen=True)
class Linear:
    """`(rows, inner)` times `(inner, columns)`: a linear layer of tokens, or a convolution as a product of patches."""

    rows: int
    inner: int
    columns: int

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.rows * self.inner * self.columns

    def __str__(self) -> str:
        return f"linear {self.rows} x {self.inner} x {self.columns}"


@dataclass(frozen=True)
class Attention:
    """Softmax of scores times values, all `(windows, heads, tokens, channels)`."""

    windows: int
    heads: int
    tokens: int
    channels: int

    @property
    def macs(self) -> int:
        """Multiplications: those of the scores and those with the values."""
        return 2 * self.windows * self.heads * self.tokens**2 * self.channels

    def __str__(self) -> str:
        return f"attention {self.windows} x {self.heads} x {self.tokens} x {self.channels}"


@dataclass(frozen=True)
class Workload:
    """How often an encoder does each product for one image."""

    linear: dict[Linear, int]
    attention: dict[Attention, int]

    @property
    def linear_macs(self) -> int:
        """Multiplications of all linear layers and convolutions that could be int8."""
        return sum(one.macs * count for one, count in self.linear.items())

    @property
    def attention_macs(self) -> int:
        """Multiplications of all scores and values."""
        return sum(one.macs * count for one, count in self.attention.items())


def workload_of(model: onnx.ModelProto) -> Workload:
    """Count the products of a float encoder's graph, in any form that a bundle ships."""
    layers = quantisable(model)
    return Workload(dict(Counter(map(_linear, layers))), dict(Counter(_attentions(model, layers))))


def _linear(layer: Layer) -> Linear:
    inputs, columns = prod(layer.weight_shape), layer.weight_shape[layer.channel_axis]
    return Linear(layer.macs // inputs, inputs // columns, columns)


def _attentions(model: onnx.ModelProto, layers: Sequence[Layer]) -> Iterator[Attention]:
    """Put the pieces together that a graph cuts a block's attention into: one head, some queries at a time."""
    index, ends = GraphIndex(model), {layer.output for layer in layers}
    found: list[tuple[str, str]] = []
    pieces: list[list[tuple[str, str]]] = []
    for node in model.graph.node:
        if node.op_type == "Softmax":
            reader = index.only_reader(node.output[0])
            if reader is not None and reader.op_type == "MatMul" and reader.input[0] == node.output[0]:
                found.append((node.output[0], reader.input[1]))
        elif found and node.output[0] in ends:  # the projection of what this block attended to
            pieces.append(found)
            found = []
    shapes = tensor_shapes(model, {name for block in pieces for piece in block for name in piece})
    for block in pieces:
        windows, *_, tokens = shapes[block[0][0]]
        rows = sum(prod(shapes[scores][:-1]) for scores, _ in block)
        yield Attention(windows, rows // (windows * tokens), tokens, shapes[block[0][1]][-1])
