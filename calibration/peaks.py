"""The largest magnitude of everything that a graph computes, over images: what float16 may not be able to hold.

The graph itself reduces each tensor to two numbers, so that a model of any size is watched in one pass over the images.
What moves numbers and computes nothing is not watched: its values were seen where they were computed.
"""

from collections.abc import Iterator

import onnx
from onnx import helper

from .graph_tensors import tensor_types
from .half import FLOAT, LARGEST
from .lint import MOVES
from .observe import Feeds, observed

HEADROOM = 2.0
"""Another image may hold a larger value than those that were seen, and nothing comes back from infinity."""
_BOUNDED = ("Softmax", "Sigmoid", "Erf", "Sin", "Cos", "Tanh")  # never above 1


def peaks(model: onnx.ModelProto, feeds: Feeds) -> dict[str, float]:
    """Return the largest magnitude of each float32 tensor that a node computes, in the graph's order.

    Args:
        model: A float32 graph; not changed.
        feeds: Inputs of the graph, image by image.

    Raises:
        MeasurementError: A tensor holds infinity.
        UsageError, BundleError, BackendError, DeviceMemoryError: As `observe.observed`.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = list(_computed(model))
    ends = {f"{name}/{kind}": (kind, name) for name in names for kind in ("ReduceMin", "ReduceMax")}
    made.graph.node.extend(helper.make_node(kind, [name], [end]) for end, (kind, name) in ends.items())
    found = observed(made, list(ends), feeds)
    return {name: max(found[f"{name}/ReduceMin"].peak, found[f"{name}/ReduceMax"].peak) for name in names}


def _computed(model: onnx.ModelProto) -> Iterator[str]:
    types = tensor_types(model)
    for node in model.graph.node:
        if node.op_type not in (*MOVES, *_BOUNDED):
            yield from (name for name in node.output if types.get(name) == FLOAT)


def too_large(peak: float) -> bool:
    """Tell whether a tensor with this peak has to stay float32; NaN does."""
    return not peak * HEADROOM <= LARGEST
