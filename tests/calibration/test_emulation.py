"""The emulation rounds wherever float16 rounds, and lets infinity be infinity; ONNX Runtime by itself does neither."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.emulation import EMULATOR, emulated, rounded
from medsam_edge.calibration.half import halved
from medsam_edge.calibration.islands import float32_nodes
from medsam_edge.calibration.peaks import peaks
from medsam_edge.calibration.qdq import quantised
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import BundleError
from medsam_edge.runtime.manifest import Model
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.store import BundleWriter
from medsam_edge.runtime.types import AnyArray, Case
from onnx import TensorProto, helper, numpy_helper

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]
X = np.array([[2, 1.1, -3, 70]], np.float32)


def chain(*nodes: tuple[str, str]) -> onnx.ModelProto:
    """Float16 between a cast to it and one back; `(operator, constant)` each, on the value before."""
    constants = {"third": 1 / 3, "many": 1000.0, "few": 1e-3, "tiny": 2.0**-24}
    made, last = [helper.make_node("Cast", ["x"], ["v0"], to=TensorProto.FLOAT16)], "v0"
    for place, (kind, name) in enumerate(nodes, start=1):
        made.append(helper.make_node(kind, [last, name][: 1 if kind == "Relu" else 2], [f"v{place}"]))
        last = f"v{place}"
    made.append(helper.make_node("Cast", [last], ["y"], to=TensorProto.FLOAT))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, X.shape) for name in "xy"]
    kept = [numpy_helper.from_array(np.float16(value), name) for name, value in constants.items()]
    graph = helper.make_graph(made, "chain", values[:1], values[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def test_each_operator_rounds_as_numpys_float16_does(answers: Answers) -> None:
    operators = {"Mul": np.multiply, "Add": np.add, "Div": np.divide}
    chosen = [("Mul", "third"), ("Add", "third"), ("Div", "few"), ("Mul", "tiny"), ("Add", "few")]
    expected = X.astype(np.float16)
    for kind, name in chosen:
        constant = np.float16({"third": 1 / 3, "few": 1e-3, "tiny": 2.0**-24}[name])
        expected = operators[kind](expected.astype(np.float32), np.float32(constant)).astype(np.float16)
    np.testing.assert_array_equal(answers(rounded(chain(*chosen)), {"x": X})[0], expected.astype(np.float32))


def test_an_overflow_is_infinity_even_where_a_later_operator_would_bring_it_back(answers: Answers) -> None:
    found = answers(rounded(chain(("Mul", "many"), ("Relu", ""), ("Mul", "few"))), {"x": X})[0]
    assert np.isinf(found[0, 3])
    assert np.isfinite(found[0, :3]).all()


def test_a_large_residual_is_seen_and_mended_by_what_stays_float32(
    large_residual: onnx.ModelProto, answers: Answers, pixels: dict[str, AnyArray]
) -> None:
    large = [name for name, peak in peaks(large_residual, [pixels]).items() if peak > 3e4]
    [exact] = answers(large_residual, pixels)
    for kept, finite in (((), False), (large, True)):
        # Constants beyond float16 are refused elsewhere; here their reader stays float32 in both.
        places = (
            float32_nodes(large_residual, large=large[:1]) if not kept else float32_nodes(large_residual, large=kept)
        )
        [found] = answers(rounded(halved(large_residual, places)), pixels)
        assert np.isfinite(found).all() == finite
    assert np.abs(found - exact).max() < 2e-2 * np.abs(exact).max()


def test_int8_layers_compute_what_they_compute(
    encoder: Encoder,
    answers: Answers,
    peak_scales: Callable[[onnx.ModelProto], dict[str, float]],
    pixels: dict[str, AnyArray],
) -> None:
    """The float16 around them is rounded; a layer's product with nothing around it is exact."""
    model = encoder("vit", "concat")
    scales = peak_scales(model)
    wide = quantised(model, scales)
    everything = halved(model, range(len(model.graph.node)))
    assert answers(rounded(quantised(everything, scales)), pixels)[0].tolist() == answers(wide, pixels)[0].tolist()
    typed = rounded(quantised(halved(model, float32_nodes(model)), scales))
    assert {one.data_type for one in typed.graph.initializer} == {
        TensorProto.FLOAT,
        TensorProto.INT8,
        TensorProto.INT64,
    }
    [exact], [found], [int8] = (answers(one, pixels) for one in (model, typed, wide))
    assert 0 < np.abs(found - exact).mean() < 1.3 * np.abs(int8 - exact).mean()


@pytest.fixture
def bundle(tmp_path: Path, real_bundle: Path) -> Path:
    """`real_bundle` with its graphs for TensorRT only, and a float16 decoder."""
    old = open_bundle(real_bundle)
    manifest, root = old.manifest, tmp_path / "tensorrt.bundle"
    with BundleWriter(root) as writer:
        for entry in manifest.graphs:
            data = (real_bundle / entry.file).read_bytes()
            writer.add_graph(data, part=entry.part, precision="fp32", form="plain", targets=("tensorrt",))
        model = onnx.load_from_string(data)
        assert model.graph.name == "decoder"
        half = halved(model, ()).SerializeToString()
        writer.add_graph(half, part="decoder", precision="fp16", form="plain", targets=("tensorrt",))
        for golden in old.golden_cases():
            writer.add_golden(golden)
        writer.add_record("export", {"of": "a test"})
        writer.commit(
            model=Model("tiny", "sam_vit", {}, "1" * 64, True, "tiny.pth", "2" * 64),
            profile=medsam(64).to_dict(),
            pipeline=manifest.pipeline,
            parts=manifest.parts,
            embedding_size=manifest.embedding_size,
        )
    return root


def test_it_opens_what_tensorrt_would_run(bundle: Path, real_bundle: Path, tiny_cases: tuple[Case, ...]) -> None:
    case, opened = tiny_cases[0], open_bundle(bundle)
    encoder = onnx.load(bundle / opened.entry("encoder", "fp32").file)
    half = halved(encoder, ()).SerializeToString()
    ways = {
        "float32": partial(emulated, opened, EMULATOR, None),
        "encoder": partial(emulated, opened, EMULATOR, half),
        "both": partial(emulated, opened, EMULATOR, half, decoder="fp16"),
    }
    found = {}
    for name, way in ways.items():
        with way() as predictor:
            assert predictor.served_by.trained
            found[name] = predictor.segment(case.image, case.boxes).low_res_logits
    one, two, three = found.values()
    assert 0 < np.abs(one - two).max() < 0.01 * np.abs(one).max()
    assert 0 < np.abs(two - three).max() < 0.01 * np.abs(one).max()
    assert (three == three.astype(np.float16)).all()


def test_a_bundle_without_graphs_for_tensorrt_is_refused(write_bundle: Callable[..., Path], tmp_path: Path) -> None:
    opened = open_bundle(write_bundle(tmp_path / "other.bundle", ()))
    with pytest.raises(BundleError, match="decoder in fp16 for tensorrt"), emulated(opened, EMULATOR, None, "fp16"):
        pass
