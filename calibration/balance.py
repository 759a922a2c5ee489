"""Moves the spread between an activation's channels into the next weights, where each channel is cheap to hold.

SmoothQuant (Xiao et al. 2023, arXiv 2211.10438), eq. 4: a norm's scale and bias are divided channel by channel by
s_j = max|X_j|^a / max|W_j|^(1 - a), and the rows of the weights that read it are multiplied by it. The function is the
same in real arithmetic; one int8 scale for the whole activation then wastes less. It knows nothing of int8.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime.errors import UsageError
from ..runtime.types import AnyArray
from .graph_index import GraphIndex
from .layers import Layer, quantisable
from .qdq import drop_unread_constants


def balanced(model: onnx.ModelProto, channel_peaks: Mapping[str, AnyArray], alpha: float) -> onnx.ModelProto:
    """Return the graph with the inputs of some linear layers balanced against their weights.

    Balanced are the linear layers that alone read a LayerNormalization (in a float16 graph through a Cast): `attn.qkv`,
    `mlp.lin1` and the like. Where several read one norm they share s, and the largest of their peaks and weights
    counts. Others keep what they have, and so does a channel whose peak or weights are all zero.

    Args:
        model: A float graph; it is not changed.
        channel_peaks: By the layer's name (`layers.quantisable`), float `(C,)`: the largest magnitude of each channel
            of its input. A norm none of whose layers is named is left.
        alpha: 1 moves all spread between channels into the weights, 0 all of the weights' into the activation.

    Raises:
        UsageError: If alpha is not between 0 and 1, or the peaks do not fit a layer.
    """
    if not 0 <= alpha <= 1:
        raise UsageError("alpha between 0 and 1", repr(alpha), "0.5 is a good start")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    index = GraphIndex(made)
    shown = {output.name for output in made.graph.output}
    for norm, layers in norm_groups(index, quantisable(made)):
        if norm.output[0] in shown:
            continue
        named = [channel_peaks[layer.name] for layer in layers if layer.name in channel_peaks]
        if named:
            factors = _factors(_largest(named, layers), _weight_peaks(index, layers), alpha)
            rescale(made, index, norm, layers, factors)
    drop_unread_constants(made)
    return made


def norm_groups(index: GraphIndex, layers: Sequence[Layer]) -> Iterator[tuple[onnx.NodeProto, list[Layer]]]:
    """Yield each norm that only linear layers read, with these."""
    linear = {layer.output: layer for layer in layers if layer.kind != "Conv"}
    for norm in index.makers.values():
        if norm.op_type != "LayerNormalization" or not set(norm.input[1:]) <= index.constants.keys():
            continue
        readers = _readers(index, norm.output[0])
        if readers and all(reader.output[0] in linear for reader in readers):
            yield norm, [linear[reader.output[0]] for reader in readers]


def _readers(index: GraphIndex, name: str) -> list[onnx.NodeProto]:
    direct = index.readers.get(name, [])
    if len(direct) == 1 and direct[0].op_type == "Cast":
        return index.readers.get(direct[0].output[0], [])
    return direct


def _largest(peaks: Sequence[AnyArray], layers: Sequence[Layer]) -> AnyArray:
    inputs = layers[0].weight_shape[layers[0].input_axis]
    for one in peaks:
        if one.shape != (inputs,) or not np.isfinite(one).all() or (one < 0).any():
            found = f"{one.shape}, least {one.min(initial=0)}"
            raise UsageError(f"{inputs} finite peaks for {layers[0].name}", found, "measure them on this graph")
    largest: AnyArray = np.max(peaks, axis=0).astype(np.float64)
    return largest


def _weight_peaks(index: GraphIndex, layers: Sequence[Layer]) -> AnyArray:
    found = [np.abs(index.array(one.weight).astype(np.float64)).max(axis=one.channel_axis) for one in layers]
    largest: AnyArray = np.max(found, axis=0)
    return largest


def _factors(activations: AnyArray, weights: AnyArray, alpha: float) -> AnyArray:
    used = (activations > 0) & (weights > 0)
    activations, weights = np.where(used, activations, 1), np.where(used, weights, 1)
    return np.where(used, activations**alpha / weights ** (1 - alpha), 1)


def rescale(
    model: onnx.ModelProto, index: GraphIndex, norm: onnx.NodeProto, layers: Sequence[Layer], factors: AnyArray
) -> None:
    """Divide a norm's channels by factors `(C,)` and multiply the rows of the weights that read it, in place."""
    for place in range(1, len(norm.input)):
        _replace(model, index, norm, place, index.array(norm.input[place]) / factors)
    for layer in layers:
        rows = np.expand_dims(factors, layer.channel_axis)
        _replace(model, index, index.makers[layer.output], 1, index.array(layer.weight) * rows)


def _replace(model: onnx.ModelProto, index: GraphIndex, node: onnx.NodeProto, place: int, array: AnyArray) -> None:
    """Give a node a constant of its own: the exporter keeps one copy of equal constants for several nodes.

    A constant that no other node reads keeps its name, from which layers have theirs.
    """
    old = index.constants[node.input[place]]
    made = numpy_helper.from_array(array.astype(index.array(old.name).dtype), old.name)
    if index.only_reader(old.name) is not None:
        old.CopyFrom(made)
        return
    made.name = node.input[place] = f"{node.output[0]}/balanced_{place}"
    model.graph.initializer.append(made)
