"""Small ViT and TinyViT encoders in every form and precision, what runs them, and cases without pixels."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias
from unittest.mock import patch

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.calibration.case_set import CaseRef
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.qdq import quantised
from medsam_edge.export import attention_forms
from medsam_edge.export.attention_forms import FORMS, written_out
from medsam_edge.export.graphs import finished, trace_encoder
from medsam_edge.export.models.config import LITE_MEDSAM, Config, SamConfig
from medsam_edge.export.models.half import Half
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import formed_model, replaced
from medsam_edge.runtime.profile import litemedsam, medsam
from medsam_edge.runtime.types import AnyArray
from onnx import helper, numpy_helper

MakeRef: TypeAlias = Callable[..., CaseRef]

# A grid of 8 with windows of 3, partly padding; block 1 attends globally.
VIT = SamConfig(64, 8, 32, 2, 2, 64, 3, (1,), prompt_dim=64, decoder_mlp_dim=32)
TINY_VIT = replace(LITE_MEDSAM, image_size=64, widths=(16, 32, 40, 80), depths=(1, 1, 1, 1), heads=(1, 1, 1, 2))


def filled(config: Config) -> Sam:
    """No parameter at a value that hides mistakes, or that the exporter would store once for several layers."""
    torch.manual_seed(3)
    model = Sam(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


SIDE, CHANNELS = 6, 8


def make_toy(opset: int = 18, dtype: type = np.float32) -> onnx.ModelProto:
    """A convolution with a bias, two linear layers that read the same tensor, and a Gemm of transposed weight."""
    random = np.random.default_rng(2)
    shapes = {"conv": (CHANNELS, 3, 3, 3), "one": (CHANNELS, 4), "two": (CHANNELS, 4), "gemm": (5, 4), "bias": (8,)}
    arrays = {f"{name}.weight": random.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    arrays["one.weight"][:, 2] = 0
    arrays["rows"] = np.array([-1, CHANNELS], np.int64)
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "bias.weight"], ["y"], strides=[2, 2]),
        helper.make_node("Reshape", ["y", "rows"], ["z"]),
        helper.make_node("MatMul", ["z", "one.weight"], ["a"]),
        helper.make_node("MatMul", ["z", "two.weight"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Gemm", ["c", "gemm.weight"], ["out"], transB=1),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = helper.make_tensor_value_info("x", kind, (1, 3, SIDE, SIDE))
    out = helper.make_tensor_value_info("out", kind, (4, 5))
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "toy", [x], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.fixture(scope="session")
def toy() -> Callable[..., onnx.ModelProto]:
    """`(opset=18, dtype=float32)`; layers `conv`, `one`, `two`, `gemm`."""
    return make_toy


@functools.cache
def model_named(family: str) -> Sam:
    return filled(VIT if family == "vit" else TINY_VIT)


@functools.cache
def traced(family: str, precision: str, plain: bool) -> onnx.ModelProto:
    model = model_named(family) if plain else formed_model(model_named(family), "encoder")
    if precision == "fp16":
        model = replaced(model, "image_encoder", Half(model.image_encoder))
    return trace_encoder(model, medsam(64) if family == "vit" else litemedsam(64)).model


@functools.cache
def encoder_of(family: str, form: str, precision: str = "fp32") -> onnx.ModelProto:
    proto = traced(family, precision, form == "plain")
    return onnx.load_from_string(finished(written_out(proto, form) if form in FORMS else proto))


@pytest.fixture(scope="session", name="model_named")
def _model_named() -> Callable[[str], Sam]:
    """`vit` or `tiny_vit`; nobody may change it."""
    return model_named


@pytest.fixture(scope="session")
def encoder() -> Callable[..., onnx.ModelProto]:
    """`(family, form, precision="fp32")`, made once (seconds each); nobody may change it."""
    return encoder_of


@pytest.fixture(scope="session")
def tiled_vit() -> Callable[[int], onnx.ModelProto]:
    """The small ViT whose global attention is cut into tiles of so many queries."""

    def made(tile: int) -> onnx.ModelProto:
        with patch.object(attention_forms, "TILE", tile):
            return onnx.load_from_string(finished(written_out(traced("vit", "fp32", False), "tiled")))

    return made


@pytest.fixture(scope="session")
def pixels() -> dict[str, AnyArray]:
    """An encoder input."""
    image = np.random.default_rng(5).integers(9, 230, (1, 3, 64, 64)).astype(np.uint8)
    return {"image": image}


def _answers(model: onnx.ModelProto, inputs: Mapping[str, AnyArray], *names: str) -> list[AnyArray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[AnyArray] = session.run(list(names) or None, dict(inputs))
    return found


@pytest.fixture(scope="session")
def answers() -> Callable[..., list[AnyArray]]:
    """Run a graph in ONNX Runtime: `(model, inputs, *names)`; names may be of tensors within."""
    return _answers


@pytest.fixture(scope="session")
def peak_scales(pixels: dict[str, AnyArray]) -> Callable[[onnx.ModelProto], dict[str, float]]:
    """Scales of all layers, with which no value of `pixels` is cut off."""

    def measured(model: onnx.ModelProto) -> dict[str, float]:
        layers = quantisable(model)
        found = _answers(model, pixels, *(layer.input for layer in layers))
        return {layer.name: float(np.abs(one).max()) / 127 for layer, one in zip(layers, found, strict=True)}

    return measured


@pytest.fixture(scope="session")
def int8_encoder(peak_scales: Callable[[onnx.ModelProto], dict[str, float]]) -> Callable[..., onnx.ModelProto]:
    """`encoder` with all its layers in int8."""

    def made(*key: str) -> onnx.ModelProto:
        model = encoder_of(*key)
        return quantised(model, peak_scales(model))

    return made


@pytest.fixture(scope="session")
def large_residual() -> onnx.ModelProto:
    """The ViT's encoder with 100,000 in one channel of its residual, from the first block to the neck."""
    made = onnx.ModelProto()
    made.CopyFrom(encoder_of("vit", "concat"))
    places = next(one for one in made.graph.initializer if one.name.endswith("places"))
    values = numpy_helper.to_array(places).copy()
    values[..., 3] += 1e5
    places.CopyFrom(numpy_helper.from_array(values, places.name))
    return made


@pytest.fixture
def ref() -> MakeRef:
    def make(
        name: str, modality: str = "CT", patient: str | None = None, pixels: str | None = None, size: str = "small"
    ) -> CaseRef:
        """A case whose patient is named only where one is given, and whose pixels are its own unless they are given."""
        return CaseRef(
            id=name,
            modality=modality,
            patient=patient or name,
            patient_named=patient is not None,
            pixel_sha256=pixels or f"pixels of {name}",
            file_sha256=f"file of {name}",
            objects=1,
            size=size,
            origin=0,
        )

    return make
