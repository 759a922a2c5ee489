"""Every form of the encoder's attention computes what torch computes, and has the shape that its target wants."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.export import attention_forms
from medsam_edge.export.attention_forms import FORMS, written_out
from medsam_edge.export.graphs import Traced, finished, trace_encoder
from medsam_edge.export.models.formed import FormedEncoder
from medsam_edge.export.models.image_encoder import ImageEncoder
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.variants import replaced
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import AnyArray

LIMIT = 1e-5  # of the plain form in float32


@pytest.fixture(scope="module")
def traced(sam: Sam) -> Traced:
    assert isinstance(sam.image_encoder, ImageEncoder)
    return trace_encoder(replaced(sam, "image_encoder", FormedEncoder(sam.image_encoder)), medsam(64))


def run(model: onnx.ModelProto, image: torch.Tensor) -> AnyArray:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(finished(model), providers=["CPUExecutionProvider"])
    found: AnyArray = session.run(None, {"image": image.numpy()})[0]
    return found


def attentions(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Each softmax with the node that feeds it."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "Softmax":
            yield made_by[node.input[0]], node


def test_the_trace_holds_one_open_node_a_block(traced: Traced) -> None:
    assert [node.op_type for node in traced.model.graph.node if node.domain] == ["attend", "attend"]


# 64 tokens attend globally: 20 at a time leaves 16 at the last, 64 leaves nothing to cut.
@pytest.mark.parametrize(("form", "tile"), [("bias", 64), ("tiled", 64), ("tiled", 16), ("tiled", 20), ("concat", 64)])
def test_every_form_computes_what_torch_computes(
    monkeypatch: pytest.MonkeyPatch, traced: Traced, sam: Sam, image: torch.Tensor, form: str, tile: int
) -> None:
    monkeypatch.setattr(attention_forms, "TILE", tile)
    model = written_out(traced.model, form)
    theirs = sam.encode(image).numpy()
    assert np.abs(run(model, image) - theirs).max() < LIMIT * np.abs(theirs).max()
    assert not any(node.domain for node in model.graph.node)
    if tile < 64:
        assert len(list(attentions(model))) == 1 + 2 * -(-64 // tile)  # a block of windows; two heads in tiles


def test_writing_out_leaves_the_trace_open(traced: Traced) -> None:
    before = traced.model.SerializeToString()
    written_out(traced.model, "concat")
    assert traced.model.SerializeToString() == before


def test_the_concat_form_adds_nothing_to_its_scores_and_pads_the_value_to_the_querys_width(traced: Traced) -> None:
    """What TensorRT needs to fuse it."""
    model = onnx.shape_inference.infer_shapes(written_out(traced.model, "concat"), data_prop=True)
    shapes = {one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in model.graph.value_info}
    read_by = {name: node for node in model.graph.node for name in node.input}
    for product, softmax in attentions(model):
        assert product.op_type == "MatMul"
        after = read_by[softmax.output[0]]
        assert shapes[product.input[0]][-1] == shapes[after.input[1]][-1]
        assert shapes[product.input[0]][-1] % attention_forms.ALIGNMENT == 0


def test_the_other_forms_add_the_terms_once(traced: Traced) -> None:
    for form in set(FORMS) - {"concat"}:
        assert all(node.op_type == "Add" for node, _ in attentions(written_out(traced.model, form)))


def test_an_unknown_form_is_refused(traced: Traced) -> None:
    with pytest.raises(ValueError, match="'flash'"):
        written_out(traced.model, "flash")
