"""MedSAM ViT-B at full size: every form of its attention gives the embedding of the plain form, on ONNX Runtime."""

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.export.architecture import model_of
from medsam_edge.export.attention_forms import FORMS, written_out
from medsam_edge.export.graphs import Traced, finished, trace_encoder
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.random_weights import random_checkpoint
from medsam_edge.export.variants import formed_model
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.profile_steps import encoder_inputs
from medsam_edge.runtime.types import AnyArray

pytestmark = pytest.mark.slow

LIMIT = 1e-5  # of the largest value


@pytest.fixture(scope="module")
def model() -> Sam:
    """Random weights; the tables of relative positions are not zero."""
    return model_of(random_checkpoint("medsam-vit-b").tensors)


@pytest.fixture(scope="module")
def plain(model: Sam) -> AnyArray:
    return embedded(trace_encoder(model, medsam(1024)).model)


@pytest.fixture(scope="module")
def traced(model: Sam) -> Traced:
    return trace_encoder(formed_model(model, "encoder"), medsam(1024))


def embedded(model: onnx.ModelProto) -> AnyArray:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = False  # the plain form holds gigabytes as it is
    session = onnxruntime.InferenceSession(finished(model), options, providers=["CPUExecutionProvider"])
    inputs = encoder_inputs(medsam(1024), phantom(3, "CT", (200, 260)).image)
    found: AnyArray = session.run(None, inputs)[0]
    return found


def apart(ours: AnyArray, theirs: AnyArray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_plain_embedding(form: str, traced: Traced, plain: AnyArray) -> None:
    assert apart(embedded(written_out(traced.model, form)), plain) <= LIMIT


def test_without_relative_positions_it_is_another_embedding(model: Sam, plain: AnyArray) -> None:
    """The control: a form that left the terms out would be seen."""
    tables = {name: one * 0 if "rel_pos" in name else one for name, one in model.state_dict().items()}
    changed = formed_model(model_of(tables), "encoder")
    found = embedded(written_out(trace_encoder(changed, medsam(1024)).model, "tiled"))
    assert apart(found, plain) > 10 * LIMIT
