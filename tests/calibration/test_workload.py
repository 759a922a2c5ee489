"""Products are counted as a hand counts them."""

from collections.abc import Callable

import onnx
import pytest
from medsam_edge.calibration.workload import Attention, Linear, workload_of

Encoder = Callable[..., onnx.ModelProto]


@pytest.mark.parametrize("form", ["bias", "tiled"])
def test_a_vits_products_are_those_that_a_hand_counts(encoder: Encoder, form: str) -> None:
    """A grid of 8 x 8 tokens, 32 channels, 2 heads; block 0 has windows of 3, block 1 attends globally."""
    found = workload_of(encoder("vit", form))
    assert found.linear == {
        Linear(64, 3 * 8 * 8, 32): 1,  # patches of 8 x 8
        Linear(64, 32, 96): 2,
        Linear(64, 32, 32): 2,
        Linear(64, 32, 64): 2 + 1,  # two MLPs, and the neck's 1 x 1 convolution
        Linear(64, 64, 32): 2,
        Linear(64, 64 * 9, 64): 1,  # the neck's 3 x 3 convolution
    }
    assert found.attention == {Attention(9, 2, 9, 16): 1, Attention(1, 2, 64, 16): 1}
    assert found.linear_macs == 64 * (192 * 32 + 2 * 32 * 96 + 2 * 32 * 32 + 3 * 32 * 64 + 2 * 64 * 32 + 576 * 64)
    assert found.attention_macs == 2 * 2 * 16 * (9 * 9 * 9 + 64 * 64)


def test_a_global_attention_in_tiles_is_counted_as_one(tiled_vit: Callable[[int], onnx.ModelProto]) -> None:
    """A tile of 16 of its 64 queries cuts the small one as 1024 cut a ViT-B's."""
    model = tiled_vit(16)
    assert sum(node.op_type == "Softmax" for node in model.graph.node) == 1 + 2 * 4
    assert workload_of(model).attention == {Attention(9, 2, 9, 16): 1, Attention(1, 2, 64, 16): 1}


def test_a_tiny_vits_depthwise_convolutions_are_not_counted(encoder: Encoder) -> None:
    model = encoder("tiny_vit", "folded")
    found = workload_of(model)
    grouped = sum(
        any(one.name == "group" and one.i > 1 for one in node.attribute)
        for node in model.graph.node
        if node.op_type == "Conv"
    )
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    assert grouped > 0
    products = sum(node.op_type in ("MatMul", "Gemm") for node in model.graph.node)
    # Each of the three attending blocks has two products of activations.
    assert sum(found.linear.values()) == convolutions - grouped + products - 2 * 3
    assert sum(found.attention.values()) == 3
    assert {one.heads for one in found.attention} == {1, 2}


def test_products_of_other_things_are_no_workload(toy: Callable[..., onnx.ModelProto]) -> None:
    found = workload_of(toy())
    assert found.linear == {Linear(4, 27, 8): 1, Linear(4, 8, 4): 2, Linear(4, 4, 5): 1}
    assert not found.attention
    assert (found.linear_macs, found.attention_macs) == (4 * 27 * 8 + 2 * 4 * 8 * 4 + 4 * 4 * 5, 0)
