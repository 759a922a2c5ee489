"""Lists the layers of a graph that can run in int8, under names that hold for every form of the model.

A layer is a MatMul, Gemm or Conv with one constant weight. What stays float, and why:

- products of two activations (scores, and scores with values): they lose most and gain least, and TensorRT fuses int8
  attention only up to some hundred tokens;
- tables that are multiplied with an activation but are no layer's weight: relative positions, which are part of the
  scores, and the Fourier features of box coordinates. Relative positions have a matrix for each row of the grid, so
  their constant has more than two axes; other tables are parameters of another name than `weight`;
- grouped convolutions (depthwise in TinyViT): with nine products for each value read they wait for memory, not for
  arithmetic, and one scale for channels that never mix wastes most of int8's range.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import helper

from .graph_index import GraphIndex

KINDS = ("MatMul", "Gemm", "Conv")
_BLOCK = re.compile(r"(?:layers\.\d+\.)?(?:blocks\.\d+|downsample)|[^.]+")


@dataclass(frozen=True)
class Layer:
    """One layer that can run in int8.

    Attributes:
        name: As in the checkpoint where the graph still tells ("blocks.3.mlp.lin1"), the same in every form and
            precision; else its place among all layers ("layer.7").
        kind: "MatMul", "Gemm" or "Conv".
        node: The node's name.
        input: The activation that it reads.
        output: The tensor that it makes; unlike `node`, never ambiguous.
        weight: The initializer.
        channel_axis: Axis of the weight along which its output channels stand.
        weight_shape: Shape of the weight.
        macs: Multiplications for one image, and for one box where the number of boxes is open.
        block: "blocks.3", "layers.1.blocks.0", "neck", "patch_embed", …
    """

    name: str
    kind: str
    node: str
    input: str
    output: str
    weight: str
    channel_axis: int
    weight_shape: tuple[int, ...]
    macs: int
    block: str

    @property
    def input_axis(self) -> int:
        """Axis of the weight along which its input channels stand."""
        return 1 - self.channel_axis


def quantisable(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """List the layers of a float graph, in its order."""
    index = GraphIndex(model)
    found = (node for node in model.graph.node if _is_layer(index, node))
    return tuple(_layer(index, node, place) for place, node in enumerate(found))


def _is_layer(index: GraphIndex, node: onnx.NodeProto) -> bool:
    if node.op_type not in KINDS or node.input[1] not in index.constants or node.input[0] in index.constants:
        return False
    name, axes = node.input[1], len(index.constants[node.input[1]].dims)
    if "." in name and not name.endswith(".weight"):
        return False
    if node.op_type == "Conv":
        return bool(_attribute(node, "group", 1) == 1)
    return axes == 2 and not _attribute(node, "transA", 0)


def _layer(index: GraphIndex, node: onnx.NodeProto, place: int) -> Layer:
    shape = tuple(index.constants[node.input[1]].dims)
    axis = 0 if node.op_type == "Conv" or _attribute(node, "transB", 0) else 1
    products = index.elements(node.output[0])
    for size in (*shape[:axis], *shape[axis + 1 :]):
        products *= size
    name = next(_names(index, node), f"layer.{place}")
    return Layer(
        name=name,
        kind=node.op_type,
        node=node.name,
        input=node.input[0],
        output=node.output[0],
        weight=node.input[1],
        channel_axis=axis,
        weight_shape=shape,
        macs=products,
        block=_block(name),
    )


def _names(index: GraphIndex, node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that the node's parameters give it.

    The exporter transposes a linear layer's weight and forgets its name, but keeps the bias's. It also keeps one copy
    of equal constants: a parameter that several layers read may bear the name of another one, and tells nothing. Where
    windows are padded their padding is the bias, repeated by Expand: that is no other layer.
    """
    for parameter, ending in ((node.input[1], ".weight"), (_bias(index, node), ".bias")):
        readers = [reader for reader in index.readers.get(parameter, ()) if reader.op_type != "Expand"]
        if parameter.endswith(ending) and len(readers) == 1:
            yield _short(parameter.removesuffix(ending))


def _bias(index: GraphIndex, node: onnx.NodeProto) -> str:
    if len(node.input) > 2:
        return str(node.input[2])
    reader = index.only_reader(node.output[0])
    if reader is None or reader.op_type != "Add":
        return ""
    return next((name for name in reader.input if name in index.constants), "")


def _short(name: str) -> str:
    """Leave out what differs between forms and precisions: wrappers, and a module around one layer."""
    words = [word for word in name.split(".") if word not in ("model", "module", "image_encoder")]
    if words[-1] == "c" or words == ["patch_embed", "proj"]:
        words.pop()
    return ".".join(words)


def _block(name: str) -> str:
    match = _BLOCK.match(name)
    return match[0] if match else name


def node_blocks(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the block of each node, in the graph's order; "" before the first block that has layers.

    Most nodes have no parameter of their own. They belong to the block of the last parameter that tells one: graphs
    are in the order in which the network computes.
    """
    index, layers = GraphIndex(model), {layer.output: layer.block for layer in quantisable(model)}
    known, current, found = set(layers.values()), "", []
    for node in model.graph.node:
        own = (_block(_short(name)) for name in _told(index, node))
        current = next((block for block in own if block in known), current)
        found.append(layers.get(node.output[0], current))
    return tuple(found)


def _told(index: GraphIndex, node: onnx.NodeProto) -> Iterator[str]:
    """Yield the node's parameters that are no other node's as well."""
    return (name for name in node.input if name in index.constants and index.only_reader(name) is not None)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(helper.get_attribute_value(one)) for one in node.attribute if one.name == name), default)
