"""Products of attention are found in every form of a model, under the blocks of their layers, and nothing else is."""

from collections import Counter
from collections.abc import Callable

import onnx
import pytest
from medsam_edge.calibration.products import Product, products

Encoder = Callable[..., onnx.ModelProto]


@pytest.mark.parametrize("form", ["plain", "bias", "tiled"])
def test_each_block_of_a_vit_has_scores_and_sums_of_values(encoder: Encoder, form: str) -> None:
    found = products(encoder("vit", form))
    assert {one.block for one in found} == {"blocks.0.attention", "blocks.1.attention"}
    assert Counter(one.of_softmax for one in found) == {True: len(found) / 2, False: len(found) / 2}


def test_a_tiny_vit_has_them_in_the_stages_that_attend(encoder: Encoder) -> None:
    found = products(encoder("tiny_vit", "folded"))
    assert [one.block for one in found] == [f"layers.{stage}.blocks.0.attention" for stage in (1, 1, 2, 2, 3, 3)]


def test_their_factors_are_activations_and_a_softmax_stands_on_the_left(encoder: Encoder) -> None:
    model = encoder("vit", "tiled")
    constants = {one.name for one in model.graph.initializer}
    makers = {name: node.op_type for node in model.graph.node for name in node.output}

    def right(one: Product) -> bool:
        return (makers[one.left] == "Softmax") == one.of_softmax and not {one.left, one.right} & constants

    assert all(right(one) for one in products(model))
