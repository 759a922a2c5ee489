"""In which types a network computes: counted on what TensorRT's parser made of the typed ONNX file.

In a strongly typed network the types are no wish: the builder has to keep them. So the census of the parsed network is
what the engine computes in, whatever it fuses; what it does not show is which kernels were chosen.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import ParityError

_WORDS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
_MULTIPLYING = ("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION")


@dataclass(frozen=True)
class Census:
    """The multiplications of a network by type, for one box.

    Attributes:
        layers: Layers of the parsed network.
        operations: Type ("fp16") to multiply-accumulates in layers of that type; 8-bit layers are those whose operands
            are all dequantised.
        scores_bytes: The largest input of a softmax: what attention holds in memory where it is not fused.
    """

    layers: int
    operations: dict[str, int]
    scores_bytes: int

    def share(self, kind: str) -> float:
        """Return the part of all multiplications that is done in a type."""
        return self.operations.get(kind, 0) / max(1, sum(self.operations.values()))


def census_of(trt: Any, network: Any) -> Census:  # noqa: ANN401 - native objects
    """Count a parsed network."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producers = {layer.get_output(0).name: _Producer(layer.type.name, _first_input(layer)) for layer in layers}
    operations: Counter[str] = Counter()
    scores = 0
    for layer in layers:
        kind = layer.type.name
        if kind in _MULTIPLYING:
            operations[_type_of(layer, producers)] += _multiplications(trt, layer, kind)
        elif kind == "SOFTMAX":
            tensor = layer.get_input(0)
            scores = max(scores, _volume(tensor.shape) * (2 if tensor.dtype.name in ("HALF", "BF16") else 4))
    return Census(len(layers), dict(operations), scores)


class _Producer(NamedTuple):
    kind: str
    source: str  # the name of its first input


def _first_input(layer: Any) -> str:  # noqa: ANN401 - a native layer
    tensor = layer.get_input(0) if layer.num_inputs else None
    return "" if tensor is None else str(tensor.name)


def _type_of(layer: Any, producers: dict[str, _Producer]) -> str:  # noqa: ANN401 - a native layer
    inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
    if all(_dequantised(tensor.name, producers) for tensor in inputs if tensor is not None):
        return "int8"
    name = str(layer.get_output(0).dtype.name)
    return _WORDS.get(name, name.lower())


def _dequantised(name: str, producers: dict[str, _Producer]) -> bool:
    while name in producers and producers[name].kind in ("SHUFFLE", "CAST"):  # a weight's axes are put in order
        name = producers[name].source
    return name in producers and producers[name].kind == "DEQUANTIZE"


def _multiplications(trt: Any, layer: Any, kind: str) -> int:  # noqa: ANN401 - native objects
    size = _volume(layer.get_output(0).shape)
    tensor = layer.get_input(0)
    if kind == "MATRIX_MULTIPLY":
        # Its other axis is the output's own unless the operand is taken transposed.
        inner, rows = tensor.shape[-1], layer.get_output(0).shape[-2]
        return size * abs(int(inner if tensor.shape[-2] == rows else tensor.shape[-2]))
    layer.__class__ = trt.IConvolutionLayer if kind == "CONVOLUTION" else trt.IDeconvolutionLayer
    kernel = math.prod(layer.kernel_size_nd)
    if kind == "DECONVOLUTION":
        size, channels = _volume(tensor.shape), layer.num_output_maps
    else:
        channels = tensor.shape[1]
    return int(size * abs(channels) * kernel // layer.num_groups)


def _volume(shape: Any) -> int:  # noqa: ANN401 - native dimensions
    return math.prod(abs(int(side)) for side in shape)  # -1, the number of boxes, counts as one


def require_precision(census: Census, precision: str, part: str) -> None:
    """Refuse an engine that would not be what was asked for.

    Args:
        census: Of the parsed network.
        precision: "fp32", "fp16" or "int8", as the bundle calls the graph.
        part: For the message.

    Raises:
        ParityError: More than half of its multiplications are float32 where 16 or 8 bits were asked for, or none is in
            int8 where that was.
    """
    shares = ", ".join(f"{kind} {census.share(kind):.0%}" for kind in sorted(census.operations)) or "no multiplication"
    mostly = precision != "fp32" and census.share("fp32") > 0.5
    if mostly or (precision == "int8" and not census.share("int8")):
        remedy = "export the bundle again with --target tensorrt, or ask for --precision fp32"
        raise ParityError(f"a {part} that multiplies in {precision}", shares, remedy)
