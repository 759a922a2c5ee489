"""What an ONNX graph says of the tensors inside it before anything runs: whether they are there, how large, which axis.

It reads graphs without looking at their weights, and knows nothing of what is observed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

import onnx

from ..runtime.errors import UsageError

_BYTES = 4  # of a float32 value
_SMALL = 1024  # values: constants up to here may be shapes, which inference has to know


def check_tensors(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Refuse names that no node of the graph makes and that are no inputs of it.

    Raises:
        UsageError: Naming the first such tensor and what looks like it.
    """
    there = {value.name for value in model.graph.input} | {name for node in model.graph.node for name in node.output}
    for name in names:
        if name not in there or not name:
            alike = ", ".join(get_close_matches(name, there, 3)) or "nothing like it"
            found = f"no `{name}` among {len(there)}; closest: {alike}"
            raise UsageError("a tensor that the graph computes", found, "name tensors of this very graph")


def channel_axes(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, int]:
    """Return where each tensor's channels are: 1 for what a convolution takes or makes, else the last, -1.

    The rank does not say it: SAM's windows `(W, 14, 14, C)` and its neck's maps `(1, C, E, E)` both have four axes.
    """
    maps: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            maps |= {node.input[0], node.output[0]}
    return {name: 1 if name in maps else -1 for name in names}


def tensor_bytes(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, int]:
    """Return the bytes of each tensor as float32; an axis whose size is not known counts as 1."""
    return {
        name: _BYTES * math.prod(size or 1 for size in shape) for name, shape in tensor_shapes(model, names).items()
    }


def tensor_shapes(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, 0 for an axis of unknown size; () where nothing is known of it."""
    wanted = list(names)
    shapes = _shapes(model.graph)
    if any(name not in shapes for name in wanted):
        shapes = _shapes(onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph)
    return {name: shapes.get(name, ()) for name in wanted}


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of each tensor that the graph takes, holds or makes.

    Raises:
        UsageError: The type of a tensor cannot be inferred: it comes from an operator that ONNX does not know.
    """
    graph = onnx.shape_inference.infer_shapes(_without_weights(model)).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {value.name: int(value.type.tensor_type.elem_type) for value in values}
    found |= {weight.name: int(weight.data_type) for weight in model.graph.initializer}
    for node in model.graph.node:
        for name in node.output:
            if name and not found.get(name):
                raise UsageError(
                    "operators of ONNX's own set", f"{node.op_type}, which makes {name}", "export it again"
                )
    return found


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    values = [*graph.input, *graph.output, *graph.value_info]
    return {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large constants as inputs: inference copies what it is given several times."""
    graph, light = model.graph, onnx.GraphProto(name="light")
    light.node.extend(graph.node)
    light.input.extend(graph.input)
    light.output.extend(graph.output)
    light.value_info.extend(graph.value_info)
    for weight in graph.initializer:
        if math.prod(weight.dims) > _SMALL:
            light.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
        else:
            light.initializer.append(weight)
    return _like(model, light)


def _like(model: onnx.ModelProto, graph: onnx.GraphProto) -> onnx.ModelProto:
    return onnx.helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
        ir_version=model.ir_version,
    )


def cut(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a graph that has all inputs of the given one, these tensors as its outputs, and no more than they need.

    The outputs have names only: whoever runs the graph infers their types.
    """
    graph, needed, nodes = model.graph, set(names), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_read_by(node))
    found = onnx.GraphProto(name=graph.name)
    found.node.extend(reversed(nodes))
    found.input.extend(graph.input)
    found.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found.initializer.extend(weight for weight in graph.initializer if weight.name in needed)
    return _like(model, found)


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node takes, those of its branches and loop bodies included; "" stands for one left out."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)


def groups(model: onnx.ModelProto, sizes: Mapping[str, int], budget_bytes: int) -> list[tuple[str, ...]]:
    """Split tensors, in the order in which the graph makes them, so that each group stays within a number of bytes.

    A tensor that alone is larger makes a group of its own.
    """
    found: list[list[str]] = []
    room = -1
    for name in _ordered(model, list(sizes)):
        room -= sizes[name]
        if room < 0:
            found.append([])
            room = budget_bytes - sizes[name]
        found[-1].append(name)
    return [tuple(group) for group in found]


def _ordered(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    made = (name for node in model.graph.node for name in node.output)
    place = {name: index for index, name in enumerate(made)}
    return sorted(names, key=lambda name: place.get(name, -1))
