"""Writes int8 layers into a float graph as QuantizeLinear and DequantizeLinear, in the shape that a target runs best.

TensorRT has no other way to int8, and its parser takes only part of what ONNX allows: int8, zero points of 0, float
biases. So: activations symmetric with one scale a tensor; weights stored as int8, symmetric, with a scale for each
output channel; all else as it was. x86 multiplies unsigned by signed bytes: `Style.UNSIGNED` writes the same steps of
the same ranges as uint8 around 128, which spares OpenVINO a correction, and which TensorRT refuses. Which layers and
products, and with which scales, others decide.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..runtime.errors import UsageError
from ..runtime.types import AnyArray
from .graph_index import GraphIndex
from .int8 import int8_weight, scale_as
from .layers import Layer, quantisable
from .products import Product, products

# What a graph may have at least and at most; float16 scales came with opset 19, and what an exported graph of opset 18
# holds means the same in 19. 20 is what our oldest runtimes read.
OPSETS = {np.dtype(np.float32): (13, 20), np.dtype(np.float16): (18, 20)}
HALF_SCALES = 19

# Yields nodes and returns the name of the tensor that the last of them makes.
_Nodes: TypeAlias = Generator[onnx.NodeProto, None, str]


class Style(Enum):
    """How a layer's activation is written: its bytes' type and what stands for 0."""

    SIGNED = np.int8(0)
    UNSIGNED = np.uint8(128)


@dataclass(frozen=True)
class Factors:
    """What one step of each factor of an attention's product is worth: of int8 around 0, of uint8 for a softmax."""

    left: float
    right: float


def quantised(
    model: onnx.ModelProto,
    scales: Mapping[str, float],
    attention: Mapping[str, Factors] | None = None,
    style: Style = Style.SIGNED,
) -> onnx.ModelProto:
    """Return the graph with some layers, and some products of attention, in int8.

    Args:
        model: A float32 or typed float16 graph; it is not changed.
        scales: By the layer's name (`layers.quantisable`), what one int8 step of its activation is worth: the largest
            magnitude to be told apart / 127. Layers that read one tensor with one scale share its quantisation.
        attention: By the product's output (`products.products`), the same of both factors. For OpenVINO only.
        style: How layers' activations are written.

    Raises:
        UsageError: If a name is no layer or product of the graph, a scale is not positive in the graph's type, or the
            graph's opset is too old or too new.
    """
    layers = {layer.output: layer for layer in _chosen(model, scales)}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    writer = _Writer(GraphIndex(model), layers, scales, _products(model, attention or {}), style)
    nodes = [written for node in model.graph.node for written in writer.written(node)]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(writer.constants)
    drop_unread_constants(made)
    raise_opset(made, {writer.index.array(layer.weight).dtype for layer in layers.values()})
    return made


def drop_unread_constants(model: onnx.ModelProto) -> None:
    """Remove the initializers that no node reads, in place."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [constant for constant in model.graph.initializer if constant.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _chosen(model: onnx.ModelProto, scales: Mapping[str, float]) -> list[Layer]:
    layers = {layer.name: layer for layer in quantisable(model)}
    unknown = [name for name in scales if name not in layers]
    if unknown:
        raise UsageError(f"layers among {', '.join(layers)}", ", ".join(unknown), "take the names from this graph")
    return [layers[name] for name in scales]


def _products(model: onnx.ModelProto, attention: Mapping[str, Factors]) -> dict[str, tuple[Product, Factors]]:
    found = {product.output: product for product in products(model)} if attention else {}
    unknown = [name for name in attention if name not in found]
    if unknown:
        raise UsageError("products of attention in this graph", ", ".join(unknown), "take them from `products`")
    return {name: (found[name], factors) for name, factors in attention.items()}


def raise_opset(model: onnx.ModelProto, dtypes: set[np.dtype[np.generic]]) -> None:
    """Raise the opset, in place, to what scales of these types need.

    Raises:
        UsageError: It is older or newer than `OPSETS` allow.
    """
    [opset] = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
    for dtype in dtypes:
        least, most = OPSETS[dtype]
        if not least <= opset.version <= most:
            raise UsageError(f"opset {least} to {most} in a {dtype} graph", str(opset.version), "export it again")
    if np.dtype(np.float16) in dtypes:
        opset.version = max(opset.version, HALF_SCALES)


class _Writer:
    """Writes the nodes that stand for a node, and collects their constants."""

    def __init__(
        self,
        index: GraphIndex,
        layers: Mapping[str, Layer],
        scales: Mapping[str, float],
        attention: Mapping[str, tuple[Product, Factors]],
        style: Style,
    ) -> None:
        self.index, self._layers, self._scales = index, layers, scales
        self._attention, self._style = attention, style
        self.constants: list[onnx.TensorProto] = []
        self._done: dict[object, str] = {}

    def written(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield what stands in a node's place: itself, or a layer or product behind its quantised inputs."""
        name = node.output[0] if node.output else ""
        made = onnx.NodeProto()
        made.CopyFrom(node)
        if layer := self._layers.get(name):
            made.input[0] = yield from self._activation(layer)
            made.input[1] = yield from self._weight(layer)
        elif found := self._attention.get(name):
            product, factors = found
            zero = np.uint8(0) if product.of_softmax else np.int8(0)
            made.input[0] = yield from self._quantised(product.left, f"{name}/left", np.float32(factors.left), zero)
            made.input[1] = yield from self._quantised(
                product.right, f"{name}/right", np.float32(factors.right), np.int8(0)
            )
        yield made

    def _activation(self, layer: Layer) -> _Nodes:
        scale = scale_as(self.index.array(layer.weight).dtype, self._scales[layer.name], layer.name)
        name = yield from self._quantised(layer.input, f"{layer.name}/input", scale, self._style.value)
        return name

    def _quantised(self, tensor: str, stem: str, scale: AnyArray | np.float32, zero: np.int8 | np.uint8) -> _Nodes:
        key = (tensor, float(scale), zero.dtype, int(zero))
        if key not in self._done:
            constants = [
                self._constant(f"{stem}/scale", np.asarray(scale)),
                self._constant(f"{stem}/zero", np.asarray(zero)),
            ]
            yield _node("QuantizeLinear", [tensor, *constants], f"{stem}/int8")
            yield _node("DequantizeLinear", [f"{stem}/int8", *constants], f"{stem}/float")
            self._done[key] = f"{stem}/float"
        return self._done[key]

    def _weight(self, layer: Layer) -> _Nodes:
        key, stem = (layer.weight, layer.channel_axis, "weight"), f"{layer.name}/weight"
        if key not in self._done:
            values, scale = int8_weight(self.index.array(layer.weight), layer.channel_axis)
            arrays = {"int8": values, "scale": scale, "zero": np.zeros(scale.shape, np.int8)}
            constants = [self._constant(f"{stem}/{name}", array) for name, array in arrays.items()]
            yield _node("DequantizeLinear", constants, f"{stem}/float", layer.channel_axis)
            self._done[key] = f"{stem}/float"
        return self._done[key]

    def _constant(self, name: str, array: AnyArray) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def _node(kind: str, inputs: list[str], output: str, axis: int | None = None) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", axis=axis)
