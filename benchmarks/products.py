"""Single products in OpenVINO, to learn at which rate this machine computes them: the graphs, and what times them.

A product is compiled as the encoder is (one request, latency), reads what is in memory already and leaves its result
there, in its own precision: nothing is converted or copied under the clock. OpenVINO's objects do not leave this file.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..calibration.workload import Attention, Linear
from ..runtime.backends.base import failure
from ..runtime.backends.choose import resolve
from ..runtime.errors import MeasurementError
from ..runtime.types import AnyArray

ELEMENTS = {"f32": TensorProto.FLOAT, "bf16": TensorProto.BFLOAT16, "int8": TensorProto.INT8}
"""What goes into a product of each precision."""
_KERNELS = {"f32": "f32", "bf16": "bf16", "int8": ("i8", "u8")}
"""How the names of OpenVINO's kernels end."""
_SCALE = 0.01
_OPSET, _IR = 18, 10


def product_graph(product: Linear | Attention, precision: str) -> onnx.ModelProto:
    """Write one product as a graph, with weights of its own.

    Args:
        product: What is multiplied; attention is plain, without the terms of relative positions.
        precision: Of what goes in, of weights and of the result: "f32", "bf16" or, of linear layers alone, "int8". An
            int8 layer whose result is float32 is computed in float32 by OpenVINO 2026.4, unless it quantises its input
            itself.
    """
    linear = isinstance(product, Linear)
    nodes, weights = _linear(product, precision) if isinstance(product, Linear) else _attention()
    names = ["x"] if linear else ["query", "key", "value"]
    if precision == "bf16":  # the library turns the float32 between the casts into bf16
        nodes = [*(_cast(name, f"{name}_float", TensorProto.FLOAT) for name in names), *nodes]
        nodes.append(_cast("product", "y", TensorProto.BFLOAT16))
    else:
        nodes = [_renamed(node, names) for node in nodes]
    return _model(product, precision, names, nodes, weights)


def _linear(product: Linear, precision: str) -> tuple[list[onnx.NodeProto], dict[str, AnyArray]]:
    draw, shape = np.random.default_rng(0), (product.inner, product.columns)
    if precision != "int8":
        weight = {"weight": draw.standard_normal(shape, np.float32)}
        return [helper.make_node("MatMul", ["x_float", "weight"], ["product"])], weight
    arrays: dict[str, AnyArray] = {
        "int8": draw.integers(-127, 128, shape, np.int8),
        "scales": np.full(product.columns, _SCALE, np.float32),
        "zeros": np.zeros(product.columns, np.int8),
        "scale": np.array(_SCALE, np.float32),
        "zero": np.zeros((), np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["read"]),
        helper.make_node("DequantizeLinear", ["int8", "scales", "zeros"], ["weight"], axis=1),
        helper.make_node("MatMul", ["read", "weight"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "scale", "zero"], ["product"]),
    ]
    return nodes, arrays


def _attention() -> tuple[list[onnx.NodeProto], dict[str, AnyArray]]:
    nodes = [
        helper.make_node("Transpose", ["key_float"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["query_float", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "value_float"], ["product"]),
    ]
    return nodes, {}


def _cast(name: str, made: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [made], to=kind)


def _renamed(node: onnx.NodeProto, names: list[str]) -> onnx.NodeProto:
    """Let a node read the inputs and make the output, where nothing is cast."""
    known = {f"{name}_float": name for name in names} | {"product": "y"}
    for ports in (node.input, node.output):
        ports[:] = [known.get(name, name) for name in ports]
    return node


def _model(
    product: Linear | Attention,
    precision: str,
    names: list[str],
    nodes: list[onnx.NodeProto],
    weights: dict[str, AnyArray],
) -> onnx.ModelProto:
    before, after = _shapes(product)
    kind = ELEMENTS[precision]
    inputs = [helper.make_tensor_value_info(name, kind, before) for name in names]
    outputs = [helper.make_tensor_value_info("y", kind, after)]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "product", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _shapes(product: Linear | Attention) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of each input, and that of the result."""
    if isinstance(product, Linear):
        return (1, product.rows, product.inner), (1, product.rows, product.columns)
    shape = (product.windows, product.heads, product.tokens, product.channels)
    return shape, shape


def timed_product(product: Linear | Attention, precision: str) -> Callable[[], float]:
    """Compile a product for the CPU, and return what computes it once and tells the milliseconds.

    Args:
        product: What is multiplied.
        precision: As `product_graph`.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        MeasurementError: It computes a linear layer in another precision.
        BackendError, DeviceMemoryError: It cannot compile or compute it.
    """
    openvino, core = _library()
    hint = "bf16" if precision == "bf16" else "f32"
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    try:
        model = core.read_model(product_graph(product, precision).SerializeToString())
        compiled = core.compile_model(model, "CPU", properties)
        _check_precision(compiled, product, precision)
        request = compiled.create_infer_request()
        for place, port in enumerate(compiled.inputs):
            tensor = openvino.Tensor(port.element_type, port.shape)
            _fill(tensor.data, precision, place)
            request.set_input_tensor(place, tensor)
    except (RuntimeError, MemoryError) as error:
        raise failure("OpenVINO", error) from error
    return lambda: _timed(request)


def _check_precision(compiled: Any, product: Linear | Attention, precision: str) -> None:  # noqa: ANN401 - as below
    """Refuse a linear layer that the library widens without a word; what it fuses attention into has no one name."""
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kernels = {info["primitiveType"].astype(str) for info in nodes if _multiplies(info["layerType"].astype(str))}
    if isinstance(product, Linear) and not any(kernel.endswith(_KERNELS[precision]) for kernel in kernels):
        found = ", ".join(sorted(kernels)) or "no product"
        remedy = "this processor or this OpenVINO has no product of that precision: measure on another one"
        raise MeasurementError(f"{product} computed in {precision}", found, remedy)


def _multiplies(layer: str) -> bool:
    return layer.startswith(("FullyConnected", "MatMul"))


@cache
def _library() -> tuple[Any, Any]:
    """Return the library and one core: each new one would load the plug-ins again."""
    resolve("openvino")  # imports it without its telemetry
    openvino = import_module("openvino")
    return openvino, openvino.Core()


def _fill(data: AnyArray, precision: str, seed: int) -> None:
    """Write values such as activations have; zeros and numbers beyond the ordinary would have rates of their own."""
    draw = np.random.default_rng(seed)
    if precision == "int8":
        data[...] = draw.integers(-127, 128, data.shape, np.int8)
        return
    values = draw.standard_normal(data.shape, np.float32)
    if precision == "bf16":  # NumPy has no such type; its bits are the upper half of float32's
        data.view(np.uint16)[...] = values.view(np.uint32) >> 16
    else:
        data[...] = values


def _timed(request: Any) -> float:  # noqa: ANN401 - the library's own class
    start = perf_counter()
    try:
        request.start_async()
        request.wait()
    except (RuntimeError, MemoryError) as error:
        raise failure("OpenVINO", error) from error
    return 1e3 * (perf_counter() - start)
