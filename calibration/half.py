"""Writes a float32 graph as a typed float16 one: TensorRT 11 has no flag for precision, so it stands in the graph.

Which nodes stay float32, others decide (`islands`). Inputs and outputs stay what the contract says; values are cast
where they pass from one type to the other, once for all that read them, and nowhere else.
"""

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..runtime.errors import UsageError
from .graph_tensors import tensor_types
from .qdq import raise_opset

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)  # 65504
# They take a tensor of any type, and give a type of their own.
_ANY = ("Cast", "Shape", "Size")


def halved(model: onnx.ModelProto, float32: Collection[int]) -> onnx.ModelProto:
    """Return the graph in float16 but for some nodes.

    Args:
        model: A float32 graph; it is not changed. Its opset becomes 19 at least: float16 scales may follow.
        float32: Places of the nodes that stay as they are.

    Returns:
        Constants that only float16 nodes read keep their names, rounded to the nearest number; one that both read is
        there twice. The same arguments give the same bytes.

    Raises:
        UsageError: A constant that becomes float16 holds more than 65504, or is one number and would become 0; the
            graph's opset is too old or too new, or the type of a tensor cannot be told.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    writer = _Writer(model, frozenset(float32))
    nodes = [written for place, node in enumerate(model.graph.node) for written in writer.written(place, node)]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    del made.graph.initializer[:]
    made.graph.initializer.extend(writer.constants())
    halves = {one.name for one in made.graph.initializer if one.data_type == HALF}
    halves |= {name for name, kind in writer.made_as.items() if kind == HALF}
    for value in made.graph.value_info:
        if value.name in halves:
            value.type.tensor_type.elem_type = HALF
    raise_opset(made, {np.dtype(np.float16)})
    return made


class _Writer:
    """Knows in which type each tensor is made, and writes nodes with the casts that they need before or after them."""

    def __init__(self, model: onnx.ModelProto, float32: frozenset[int]) -> None:
        self._graph, self._float32 = model.graph, float32
        self._floats = {name for name, kind in tensor_types(model).items() if kind == FLOAT}
        self._constants = {one.name: one for one in model.graph.initializer if one.name in self._floats}
        self._shown = {value.name for value in model.graph.output}
        self.made_as = {value.name: FLOAT for value in model.graph.input if value.name in self._floats}
        self._wanted: dict[str, set[int]] = defaultdict(set)
        self._done: set[str] = set()
        for place, node in enumerate(model.graph.node):
            for name in node.input:
                if name in self._constants:
                    self._wanted[name].add(self._type(place))
            self.made_as |= {name: self._type(place) for name in node.output if name in self._floats}

    def _type(self, place: int) -> int:
        return FLOAT if place in self._float32 else HALF

    def written(self, place: int, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield casts of what the node reads, the node, and a cast of an output of the graph that it makes."""
        kind, made = self._type(place), onnx.NodeProto()
        made.CopyFrom(node)
        for position, name in enumerate(node.input):
            if name in self._constants:
                made.input[position] = self._constant(name, kind)
            elif name in self._floats:
                wanted = self.made_as[name] if node.op_type in _ANY else kind
                made.input[position] = yield from self._cast(name, wanted)
        made.output[:] = [self._own(name) for name in node.output]
        if node.op_type == "Cast" and node.output[0] in self._floats:
            next(one for one in made.attribute if one.name == "to").i = kind
        yield made
        for name in node.output:
            if self._own(name) != name:
                yield _cast_node(self._own(name), name, FLOAT)

    def _own(self, name: str) -> str:
        """Return what a tensor is called as it is made: outputs of the graph are float32, and may be cast after it."""
        return f"{name}/float16" if name in self._shown and self.made_as.get(name) == HALF else name

    def _cast(self, name: str, wanted: int) -> Generator[onnx.NodeProto, None, str]:
        if self.made_as[name] == wanted:
            return self._own(name)
        if wanted == FLOAT and name in self._shown:
            return name  # an output of the graph, which is cast anyway
        made = f"{name}/{'float16' if wanted == HALF else 'float32'}"
        if made not in self._done:
            self._done.add(made)
            yield _cast_node(name, made, wanted)
        return made

    def _constant(self, name: str, wanted: int) -> str:
        return f"{name}/float16" if wanted == HALF and len(self._wanted[name]) > 1 else name

    def constants(self) -> Iterator[TensorProto]:
        """Yield the constants in the types in which they are read, in the old order."""
        for one in self._graph.initializer:
            wanted = self._wanted.get(one.name, {FLOAT})
            if FLOAT in wanted:
                yield one
            if HALF in wanted:
                yield _rounded(one, self._constant(one.name, HALF))


def _cast_node(source: str, made: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [made], name=f"{made}/Cast", to=kind)


def _rounded(constant: TensorProto, name: str) -> TensorProto:
    exact = numpy_helper.to_array(constant)
    with np.errstate(over="ignore"):
        found = exact.astype(np.float16)
    remedy = "keep the block that reads it in float32"
    if (np.isinf(found) & np.isfinite(exact)).any():
        largest = float(np.abs(exact[np.isfinite(exact)]).max())
        raise UsageError(f"constants of at most {LARGEST:.0f}", f"{largest:.6g} in {constant.name}", remedy)
    if found.size == 1 and exact.any() and not found.any():
        # A weight that vanishes is a rounding like any other; a single number is a divisor, an epsilon, a factor.
        culprit = f"{exact.item():.3g} in {constant.name}"
        raise UsageError("single numbers that float16 can tell from 0", culprit, remedy)
    return numpy_helper.from_array(found, name)
