"""A graph with taps answers as it does without them, and hands out what is inside."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.planted import block_outputs
from medsam_edge.calibration.taps import run, tapped
from medsam_edge.runtime.backends.base import BackendChoice
from medsam_edge.runtime.errors import BundleError, UsageError
from medsam_edge.runtime.manifest import PartSpec, TensorSpec
from medsam_edge.runtime.types import AnyArray

IMAGE = TensorSpec("image", "uint8", (1, 3, 64, 64))
PART = PartSpec("encoder", (IMAGE,), (TensorSpec("image_embedding", "float32", (1, 64, 8, 8)),))
Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_blocks_are_handed_out_beside_the_embedding(
    encoder: Encoder, int8_encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray], backend: str
) -> None:
    pytest.importorskip(backend)
    for model in (encoder("vit", "tiled"), int8_encoder("vit", "tiled")):
        names = list(block_outputs(encoder("vit", "tiled")).values())
        before = model.SerializeToString()
        with tapped(model, PART, [*names, "image_embedding"], BackendChoice(backend)) as found:
            values = run(found, pixels)
        assert model.SerializeToString() == before
        assert set(values) == {*names, "image_embedding"}
        for name, exact in zip(
            (*names, "image_embedding"), answers(model, pixels, *names, "image_embedding"), strict=True
        ):
            assert values[name].dtype == np.float32
            error = np.abs(values[name] - exact).mean() / np.abs(exact).mean()
            assert error < 0.02  # two libraries round half a step of int8 differently


def test_what_the_graph_does_not_make_is_refused(encoder: Encoder) -> None:
    with (
        pytest.raises(UsageError, match="no `blocks`"),
        tapped(encoder("vit", "tiled"), PART, ["blocks"], BackendChoice("onnxruntime")),
    ):
        pass


def test_an_interface_that_is_not_the_graphs_is_refused(encoder: Encoder) -> None:
    other = PartSpec("encoder", PART.inputs, (TensorSpec("embedding", "float32", (1, 64, 8, 8)),))
    with (
        pytest.raises(BundleError, match="the outputs embedding"),
        tapped(encoder("vit", "tiled"), other, [], BackendChoice("onnxruntime")),
    ):
        pass
