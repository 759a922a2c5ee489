"""Single products are the ones that were asked for; nothing is said of how fast they are."""

import numpy as np
import onnx
import pytest
from medsam_edge.benchmarks.products import product_graph, timed_product
from medsam_edge.calibration.workload import Attention, Linear
from medsam_edge.runtime.errors import MeasurementError, MissingExtraError
from onnx import numpy_helper

LINEAR, ATTENTION = Linear(6, 4, 5), Attention(2, 3, 7, 8)
EVERY = [
    *((LINEAR, precision) for precision in ("f32", "bf16", "int8")),
    *((ATTENTION, precision) for precision in ("f32", "bf16")),
]


@pytest.mark.parametrize(("product", "precision"), EVERY)
def test_graphs_are_whole_and_take_what_they_are_named_by(product: Linear | Attention, precision: str) -> None:
    graph = product_graph(product, precision)
    onnx.checker.check_model(graph, full_check=True)
    kinds = {"f32": onnx.TensorProto.FLOAT, "bf16": onnx.TensorProto.BFLOAT16, "int8": onnx.TensorProto.INT8}
    ends = (*graph.graph.input, *graph.graph.output)
    assert {one.type.tensor_type.elem_type for one in ends} == {kinds[precision]}
    assert len(graph.graph.input) == (1 if product is LINEAR else 3)


def answered(product: Linear | Attention, precision: str) -> tuple[dict[str, np.ndarray], np.ndarray]:  # type: ignore[type-arg]
    onnxruntime = pytest.importorskip("onnxruntime")
    graph, random = product_graph(product, precision), np.random.default_rng(4)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for one in session.get_inputs():
        values = random.normal(size=one.shape)
        feeds[one.name] = (values * 40).astype(np.int8) if precision == "int8" else values.astype(np.float32)
    constants = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    return {**feeds, **constants}, session.run(None, feeds)[0]


def test_a_linear_layer_is_its_product() -> None:
    tensors, found = answered(LINEAR, "f32")
    assert found.shape == (1, 6, 5)
    np.testing.assert_allclose(found, tensors["x"] @ tensors["weight"], rtol=1e-5)


def test_an_int8_layer_is_the_product_of_steps() -> None:
    tensors, found = answered(LINEAR, "int8")
    exact = tensors["x"].astype(int) @ tensors["int8"].astype(int) * 1e-4
    np.testing.assert_array_equal(found, np.clip(np.rint(exact / 0.01), -128, 127))
    assert len(np.unique(found)) > 5


def test_attention_is_softmax_of_scores_times_values() -> None:
    tensors, found = answered(ATTENTION, "f32")
    scores = tensors["query"] @ tensors["key"].swapaxes(-1, -2)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(found, shares / shares.sum(-1, keepdims=True) @ tensors["value"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("product", "precision"), EVERY)
def test_openvino_computes_each_and_tells_the_time(product: Linear | Attention, precision: str) -> None:
    pytest.importorskip("openvino")
    timed = timed_product(product, precision)
    assert timed() > 0
    assert timed() > 0


def test_a_product_in_another_precision_than_was_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO computes an int8 layer in float32 where its graph does not please it, and does not say so."""
    pytest.importorskip("openvino")
    from medsam_edge.benchmarks import products

    monkeypatch.setattr(products, "product_graph", lambda product, _precision: product_graph(product, "f32"))
    with pytest.raises(MeasurementError, match=r"linear 6 x 4 x 5 computed in int8; found .*f32"):
        timed_product(LINEAR, "int8")


def test_without_openvino_the_extra_is_named(here: object) -> None:
    from medsam_edge.benchmarks import products

    products._library.cache_clear()
    here("onnxruntime")  # type: ignore[operator]
    with pytest.raises(MissingExtraError, match=r"medsam-edge\[openvino\]"):
        timed_product(LINEAR, "f32")
