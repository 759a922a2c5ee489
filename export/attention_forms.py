"""Writes out the encoder's attention in the form that a target runs best: one mathematics, several graphs.

The exporter leaves one `medsam_edge::attend` node a block (models/formed.py says what it computes); `written_out`
replaces each by ONNX operators. Which form pays where is measured in docs/performance.md:

- `bias` adds both distance terms to all scores at once; ONNX Runtime and OpenVINO hold them whole.
- `tiled` is `bias` for some queries of one head at a time where many tokens attend: less memory, and scores that stay
  in the cache.
- `concat` appends the terms to query and key and zeros to the value: plain attention without a bias, which TensorRT
  fuses, provided that query, key and value are equally wide.

It knows nothing of images, weights files and bundles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..runtime.types import AnyArray

DOMAIN = "medsam_edge"
FORMS = ("bias", "tiled", "concat")
TILE = 1024  # queries; their scores against 4096 keys take 16 MB in float32
ALIGNMENT = 32  # of concatenated channels: 64 + 14 + 14 become 96


@dataclass(frozen=True)
class Attend:
    """One node to be written out, and the sizes of its tensors (letters as in models/formed.py)."""

    node: onnx.NodeProto
    windows: int
    heads: int
    tokens: int
    channels: int
    side: int
    dtype: int


class Inputs(NamedTuple):
    """What one head, some heads or all heads attend with; names of tensors."""

    query: str
    key: str
    value: str
    rows: str
    columns: str


class Writer:
    """Collects nodes and constants under names of its own."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        """Add a node of one output and return the output's name."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], count: int, **attributes: int | Sequence[int]) -> list[str]:
        """Add a node of several outputs and return their names."""
        stem = f"{self.prefix}/{kind}_{len(self.nodes)}"
        names = [f"{stem}_{index}" for index in range(count)]
        node = helper.make_node(kind, list(inputs), names, name=stem)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return names

    def split(self, value: str, axis: int, count: int) -> list[str]:
        """Cut a tensor into equal parts along an axis."""
        return self.ops("Split", [value], count, axis=axis, num_outputs=count) if count > 1 else [value]

    def joined(self, values: Sequence[str], axis: int) -> str:
        """Undo `split`."""
        return self.op("Concat", *values, axis=axis) if len(values) > 1 else values[0]

    def constant(self, array: AnyArray) -> str:
        """Add a constant and return its name."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def shape(self, *sizes: int) -> str:
        """Add a shape for Reshape or Expand and return its name."""
        return self.constant(np.array(sizes, np.int64))


def written_out(model: onnx.ModelProto, form: str) -> onnx.ModelProto:
    """Return a copy of a model in which every `attend` node is written out in a form.

    Raises:
        ValueError: If there is no such form.
    """
    if form not in FORMS:
        raise ValueError(f"no attention form {form!r}")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = list(made.graph.node)
    del made.graph.node[:]
    for index, node in enumerate(nodes):
        if node.domain != DOMAIN:
            made.graph.node.append(node)
            continue
        writer = Writer(f"attend_{index}")
        _write(writer, _sized(made.graph, node), form)
        made.graph.node.extend(writer.nodes)
        made.graph.initializer.extend(writer.constants)
    _drop_domain(made)
    return made


def _write(writer: Writer, attend: Attend, form: str) -> None:
    inputs, tile = Inputs(*attend.node.input), TILE if form == "tiled" else attend.tokens
    if form == "concat":
        result = _concat(writer, attend, inputs)
    elif attend.tokens > tile:
        result = _tiled(writer, attend, inputs, tile)
    else:
        result = _bias(writer, attend, inputs)
    writer.nodes.append(helper.make_node("Identity", [result], attend.node.output, name=f"{writer.prefix}/out"))


def _bias(writer: Writer, attend: Attend, inputs: Inputs) -> str:
    """Write softmax(query keyᵀ + rows + columns) value."""
    return _scored(writer, attend, inputs._replace(key=_turned(writer, inputs.key)), attend.heads)


def _tiled(writer: Writer, attend: Attend, inputs: Inputs, tile: int) -> str:
    """Write `bias` head by head, and some queries at a time."""
    heads = zip(*(writer.split(name, 1, attend.heads) for name in inputs), strict=True)
    return writer.joined([_head(writer, attend, Inputs(*names), tile) for names in heads], axis=1)


def _head(writer: Writer, attend: Attend, inputs: Inputs, tile: int) -> str:
    key, count = _turned(writer, inputs.key), -(-attend.tokens // tile)
    tiles = zip(*(writer.split(name, 2, count) for name in (inputs.query, inputs.rows, inputs.columns)), strict=True)
    some = [Inputs(query, key, inputs.value, rows, columns) for query, rows, columns in tiles]
    return writer.joined([_scored(writer, attend, one, 1) for one in some], axis=2)


def _turned(writer: Writer, key: str) -> str:
    return writer.op("Transpose", key, perm=[0, 1, 3, 2])


def _scored(writer: Writer, attend: Attend, inputs: Inputs, heads: int) -> str:
    """Write the attention of so many heads and any number of queries; the key is transposed already."""
    rows = writer.op("Reshape", inputs.rows, writer.shape(attend.windows, heads, -1, attend.side, 1))
    columns = writer.op("Reshape", inputs.columns, writer.shape(attend.windows, heads, -1, 1, attend.side))
    both = writer.shape(attend.windows, heads, -1, attend.tokens)
    terms = writer.op("Reshape", writer.op("Add", rows, columns), both)
    scores = writer.op("Add", writer.op("MatMul", inputs.query, inputs.key), terms)
    return writer.op("MatMul", writer.op("Softmax", scores, axis=-1), inputs.value)


def _concat(writer: Writer, attend: Attend, inputs: Inputs) -> str:
    """Write attention without a bias: a key's row and column are one-hot, so the product picks the query's terms.

    Source of the trick: SAM 3's relative positions, and YOSO (2022) before. The zeros behind the value are ours:
    TensorRT fuses attention only where query, key and value are equally wide (docs/performance.md).
    """
    width = attend.channels + 2 * attend.side
    spare = -width % ALIGNMENT
    wide_query = writer.op("Concat", inputs.query, inputs.rows, inputs.columns, *_zeros(writer, attend, spare), axis=-1)
    wide_key = writer.op("Concat", inputs.key, _places(writer, attend, spare), axis=-1)
    wide_value = writer.op("Concat", inputs.value, *_zeros(writer, attend, width + spare - attend.channels), axis=-1)
    scores = writer.op("MatMul", wide_query, _turned(writer, wide_key))
    weights = writer.op("Softmax", scores, axis=-1)
    mixed = writer.op("MatMul", weights, wide_value)
    starts, ends, axes = (writer.shape(number) for number in (0, attend.channels, 3))
    return writer.op("Slice", mixed, starts, ends, axes)


def _zeros(writer: Writer, attend: Attend, channels: int) -> Iterator[str]:
    if channels:
        one = writer.constant(np.zeros((1, 1, 1, channels), _numpy(attend)))
        yield writer.op("Expand", one, writer.shape(attend.windows, attend.heads, attend.tokens, channels))


def _places(writer: Writer, attend: Attend, spare: int) -> str:
    """Write each key's row and column as one-hot channels `(n, H, T, 2W + spare)`."""
    side, eye = attend.side, np.eye(attend.side, dtype=_numpy(attend))
    channels = [np.repeat(eye, side, axis=0), np.tile(eye, (side, 1)), np.zeros((attend.tokens, spare), eye.dtype)]
    table = writer.constant(np.concatenate(channels, axis=1)[None, None])
    return writer.op("Expand", table, writer.shape(attend.windows, attend.heads, attend.tokens, 2 * side + spare))


def _numpy(attend: Attend) -> np.dtype[np.generic]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(attend.dtype))


def _sized(graph: onnx.GraphProto, node: onnx.NodeProto) -> Attend:
    types = {value.name: value.type.tensor_type for value in graph.value_info}
    value, rows = types[node.input[2]], types[node.input[3]]
    windows, heads, tokens, channels = (axis.dim_value for axis in value.shape.dim)
    return Attend(node, windows, heads, tokens, channels, rows.shape.dim[-1].dim_value, value.elem_type)


def _drop_domain(model: onnx.ModelProto) -> None:
    kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
