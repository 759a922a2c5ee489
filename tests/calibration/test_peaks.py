"""The largest magnitude of what a graph computes: every value counts, of every image, and none is held."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.half import LARGEST
from medsam_edge.calibration.lint import MOVES
from medsam_edge.calibration.peaks import peaks, too_large
from medsam_edge.runtime.types import AnyArray

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]


def test_they_are_the_largest_magnitudes_over_all_images(
    encoder: Encoder, answers: Answers, pixels: dict[str, AnyArray]
) -> None:
    model = encoder("vit", "concat")
    images = [pixels, {"image": 255 - pixels["image"] // 2}]
    found = peaks(model, images)
    values = [answers(model, image, *found) for image in images]
    expected = [max(float(np.abs(one).max()) for one in pair) for pair in zip(*values, strict=True)]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5)


def test_all_that_computes_is_watched(encoder: Encoder, pixels: dict[str, AnyArray]) -> None:
    model = encoder("tiny_vit", "folded")
    found = peaks(model, [pixels])
    unseen = {node.op_type for node in model.graph.node if not found.keys() >= set(node.output)}
    assert unseen <= {*MOVES, "Softmax", "Erf"}
    assert list(found) == [name for node in model.graph.node for name in node.output if name in found]


@pytest.mark.parametrize(("peak", "large"), [(LARGEST / 2, False), (LARGEST * 0.6, True), (float("nan"), True)])
def test_half_of_float16s_range_is_kept_for_other_images(peak: float, large: bool) -> None:
    assert too_large(peak) is large
