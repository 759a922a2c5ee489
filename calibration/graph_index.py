"""Looks up what stands where in an ONNX graph: constants, the maker and the readers of a tensor, shapes.

It reads a graph and never changes one; it goes stale when the graph is changed.
"""

from collections import defaultdict
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime.types import AnyArray


class GraphIndex:
    """What a graph holds, by the names of its tensors.

    Attributes:
        constants: Initializers.
        makers: The node that makes a tensor; none for inputs and constants.
        readers: The nodes that read a tensor, in the graph's order; a node that reads it twice stands there twice.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.constants = {constant.name: constant for constant in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)

    def array(self, name: str) -> AnyArray:
        """Return a constant's values; the file's own bytes, not to be written to."""
        return numpy_helper.to_array(self.constants[name])

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Return the node that reads a tensor, where it is the only one."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 else None

    def elements(self, name: str) -> int:
        """Return how many values a tensor holds; an axis of open length counts as one. 0: the shape is not known."""
        shape = self._shapes.get(name)
        return int(np.prod(shape)) if shape is not None else 0

    @cached_property
    def _shapes(self) -> dict[str, list[int]]:
        return _shapes(self._model.graph) or _shapes(onnx.shape_inference.infer_shapes(self._model).graph)


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Read the shapes that a graph states; nothing where it states only those of its inputs and outputs."""
    if not graph.value_info:
        return {}
    types = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    return {
        name: [axis.dim_value or 1 for axis in one.shape.dim] for name, one in types.items() if one.HasField("shape")
    }
