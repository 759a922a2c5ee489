"""Chooses the nodes of a graph that stay float32 when the rest becomes float16.

Always: what comes before the first block (the normalisation of the image, the Fourier features of box coordinates,
which 16 bits would move by pixels), norms and sums, whose squares and totals float16 cannot hold. Where asked: blocks,
softmax, and whatever makes or reads a tensor that float16 cannot hold. It writes nothing.
"""

from collections.abc import Collection, Iterator

import onnx

from ..runtime.errors import UsageError
from .graph_index import GraphIndex
from .graph_tensors import tensor_types
from .half import FLOAT
from .layers import node_blocks
from .lint import MOVES

ALWAYS = (
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "BatchNormalization"),
    *("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "ReduceProd", "CumSum", "Pow"),
    *("Sin", "Cos"),
    # What makes float32 whatever reads it, or takes float32 beside its tensor.
    *("Constant", "ConstantOfShape", "Range", "Resize"),
)


def float32_nodes(
    model: onnx.ModelProto,
    blocks: Collection[str] = (),
    *,
    softmax: bool = False,
    large: Collection[str] = (),
) -> frozenset[int]:
    """Return the places of the nodes that stay float32.

    Args:
        model: A float32 graph of a part.
        blocks: Blocks that stay whole in float32, by the names of `layers.node_blocks`.
        softmax: Keep every softmax.
        large: Tensors that float16 cannot hold; every node that makes or reads one stays float32.

    Raises:
        UsageError: The graph has no such block, or none at all.
    """
    places = node_blocks(model)
    known = set(places) - {""}
    if not known or not known.issuperset(blocks):
        found = ", ".join(sorted(set(blocks) - known)) or "a graph without blocks"
        raise UsageError(
            f"blocks among {', '.join(sorted(known)) or 'those of an encoder'}", found, "name one of these"
        )
    kinds, beyond = (*ALWAYS, "Softmax") if softmax else ALWAYS, _moved(model, large)
    kept = {
        place
        for place, (node, block) in enumerate(zip(model.graph.node, places, strict=True))
        if block in ("", *blocks) or node.op_type in kinds or beyond.intersection((*node.input, *node.output))
    }
    return frozenset(kept | set(_between(model, kept)))


def _moved(model: onnx.ModelProto, large: Collection[str]) -> set[str]:
    """Add what holds the same numbers in another place."""
    found = set(large)
    for node in model.graph.node:
        if node.op_type in MOVES and found.intersection(node.input):
            found.update(node.output)
    return found


def _between(model: onnx.ModelProto, kept: Collection[int]) -> Iterator[int]:
    """Yield the nodes that only move numbers from float32 to float32: in float16 they would round them for nothing."""
    index, nodes = GraphIndex(model), list(model.graph.node)
    floats = {name for name, kind in tensor_types(model).items() if kind == FLOAT}
    shown = {value.name for value in model.graph.output}
    wide = {nodes[place].output[0] for place in kept}

    def comes_from_float32(name: str) -> bool:
        maker = index.makers.get(name)
        if maker is None or maker.output[0] in wide:
            return True
        moved = [one for one in maker.input if one in floats]
        return maker.op_type in MOVES and all(comes_from_float32(one) for one in moved)

    for place in reversed(range(len(nodes))):
        node = nodes[place]
        if place in kept or node.op_type not in MOVES:
            continue
        readers = [reader for name in node.output for reader in index.readers.get(name, [])]
        ends = readers or shown.intersection(node.output)
        if ends and all(reader.output[0] in wide for reader in readers) and comes_from_float32(node.output[0]):
            wide.add(node.output[0])
            yield place
