"""Which nodes stay float32: the image's normalisation, norms, named blocks, and what float16 cannot hold."""

from collections.abc import Callable

import onnx
import pytest
from medsam_edge.calibration.islands import float32_nodes
from medsam_edge.calibration.layers import node_blocks, quantisable
from medsam_edge.runtime.errors import UsageError

Encoder = Callable[..., onnx.ModelProto]


def kinds(model: onnx.ModelProto, places: frozenset[int]) -> list[str]:
    return [model.graph.node[place].op_type for place in sorted(places)]


@pytest.mark.parametrize(("family", "form"), [("vit", "concat"), ("vit", "plain"), ("tiny_vit", "folded")])
def test_a_nodes_block_is_that_of_the_layers_around_it(encoder: Encoder, family: str, form: str) -> None:
    model = encoder(family, form)
    blocks = node_blocks(model)
    layers = {layer.output: layer.block for layer in quantisable(model)}
    assert list(dict.fromkeys(blocks)) == ["", *dict.fromkeys(layers.values())]
    found = {node.output[0]: block for node, block in zip(model.graph.node, blocks, strict=True)}
    assert {name: found[name] for name in layers} == layers
    assert blocks == tuple(sorted(blocks, key=list(dict.fromkeys(blocks)).index))  # one run of nodes each
    norms = [
        (block, node.input[1]) for node, block in zip(model.graph.node, blocks, strict=True) if "Norm" in node.op_type
    ]
    assert all(f".{block}." in name for block, name in norms)
    assert not {"Conv", "MatMul", "LayerNormalization"} & {
        node.op_type for node, block in zip(model.graph.node, blocks, strict=True) if not block
    }


def test_without_a_name_only_the_normalisation_and_norms_stay(encoder: Encoder) -> None:
    model = encoder("vit", "concat")
    before = ["Cast", "ReduceMin", "ReduceMax", "Sub", "Sub", "Clip", "Div"]
    # The last node moves the last norm's numbers to the output, which is float32 too.
    assert kinds(model, float32_nodes(model)) == [*before, *["LayerNormalization"] * 6, "Transpose"]


def test_softmax_stays_where_it_is_asked_for(encoder: Encoder) -> None:
    model = encoder("vit", "concat")
    more = float32_nodes(model, softmax=True) - float32_nodes(model)
    assert kinds(model, more) == ["Softmax", "Softmax"]


def test_a_block_stays_whole(encoder: Encoder) -> None:
    model = encoder("vit", "concat")
    expected = {place for place, block in enumerate(node_blocks(model)) if block == "blocks.0"}
    assert float32_nodes(model, ["blocks.0"]) == float32_nodes(model) | expected


def test_what_makes_or_reads_a_large_tensor_stays(encoder: Encoder) -> None:
    model = encoder("vit", "concat")
    residual = next(node for node in model.graph.node if node.op_type == "LayerNormalization").input[0]
    more = float32_nodes(model, large=[residual]) - float32_nodes(model)
    assert sorted(kinds(model, more)) == ["Add", "Add"]  # what makes it, and the sum after attention


def test_a_large_tensor_stays_large_where_it_is_moved(encoder: Encoder) -> None:
    model = encoder("vit", "concat")
    maker = {name: node for node in model.graph.node for name in node.output}
    neck = next(node for node in model.graph.node if any(name.endswith("neck.0.weight") for name in node.input))
    sequence = [neck]
    while sequence[-1].op_type != "Add":
        sequence.append(maker[sequence[-1].input[0]])
    assert [node.op_type for node in sequence] == ["Conv", "Reshape", "Transpose", "Add"]
    more = float32_nodes(model, large=sequence[-1].output) - float32_nodes(model)
    assert kinds(model, more) == ["Add", "Transpose", "Reshape", "Conv", "Transpose"]  # the last leads to a norm


def test_an_unknown_block_is_refused_with_the_known_ones(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match=r"blocks\.0, blocks\.1, neck, patch_embed; found blocks\.7"):
        float32_nodes(encoder("vit", "concat"), ["neck", "blocks.7"])
