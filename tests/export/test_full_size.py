"""The real architectures at full size, with random weights: graphs against torch, and float16 with planted outliers.

Transformers' `SamModel` is held against the torch modules in models/test_sam.py, and TinyViT's oracle in
models/test_tiny_vit_oracle.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.export.architecture import model_of
from medsam_edge.export.graphs import Graph
from medsam_edge.export.models.half import Half
from medsam_edge.export.models.image_encoder import ImageEncoder
from medsam_edge.export.models.normalisation import min_max
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.overflow import Peak, model_peaks, require_room
from medsam_edge.export.random_weights import ARCHITECTURES, random_checkpoint
from medsam_edge.export.reference import Reference
from medsam_edge.export.trials import opened
from medsam_edge.export.variants import chosen, export_graphs, formed_model
from medsam_edge.runtime.errors import ParityError
from medsam_edge.runtime.profile import Profile, medsam, profile_named
from medsam_edge.runtime.profile_steps import encoder_inputs
from medsam_edge.runtime.types import AnyArray, Case

pytestmark = pytest.mark.slow

LIMIT = 1e-4  # of the largest value
OUTLIERS, BLOCK = (7, 101, 500), 3


def drawn(name: str) -> tuple[Sam, Profile]:
    config, profile = ARCHITECTURES[name]
    return model_of(random_checkpoint(name).tensors), profile_named(profile, config.image_size)


@pytest.fixture(scope="module")
def case() -> Case:
    return phantom(3, "CT", (200, 260))


def relative(ours: AnyArray, theirs: AnyArray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", ["medsam-vit-b", "litemedsam"])
def test_both_runtimes_compute_what_torch_computes(name: str, case: Case, tmp_path: Path) -> None:
    model, profile = drawn(name)
    graphs, reference = export_graphs(model, profile), Reference(model, profile)
    embedding = reference.embed(case.image)
    logits, iou = reference.decode(embedding, case.boxes, (200, 260))
    for backend in ("onnxruntime", "openvino"):
        pytest.importorskip(backend)
        pair = [chosen(graphs, part, "fp32", backend) for part in ("encoder", "decoder")]
        with opened(backend, pair, profile, tmp_path) as predictor:
            embedded = predictor.embed(case.image)
            found = predictor.predict(embedded, case.boxes)
        assert relative(embedded.tensor.numpy(), embedding) < LIMIT, backend
        assert relative(found.low_res_logits, logits) < LIMIT, backend
        assert relative(found.iou_predictions, iou) < LIMIT, backend


@pytest.fixture(scope="module")
def planted() -> Sam:
    """MedSAM ViT-B with three residual channels of 10,000 from block 3 on, as trained ViTs have them.

    What follows is scaled as training scales it: norms and neck turn the outliers down and the rest up.
    """
    model, _ = drawn("medsam-vit-b")
    encoder = model.image_encoder
    assert isinstance(encoder, ImageEncoder)
    plant(encoder, 10_000)
    with torch.no_grad():
        for block in list(encoder.blocks)[BLOCK + 1 :]:
            for norm in (block.norm1, block.norm2):
                norm.weight.mul_(600)  # type: ignore[operator, union-attr]
                norm.weight[list(OUTLIERS)] = 0.01  # type: ignore[index, operator, union-attr]
        encoder.neck[0].weight[:, list(OUTLIERS)] *= 1e-4  # type: ignore[index, operator]
    return model


@torch.no_grad()
def plant(encoder: ImageEncoder, value: float) -> None:
    bias = encoder.get_parameter(f"blocks.{BLOCK}.mlp.lin2.bias")
    for sign, channel in zip((1, -1, 1), OUTLIERS, strict=True):
        bias[channel] = sign * value


@pytest.fixture(scope="module")
def half_graphs(planted: Sam) -> list[Graph]:
    graphs = export_graphs(planted, medsam(1024), ["tensorrt"])
    return [chosen(graphs, part, "fp16", "tensorrt") for part in ("encoder", "decoder")]


def cosine(ours: AnyArray, theirs: AnyArray) -> float:
    one, other = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@torch.no_grad()
def in_float16(model: Sam, case: Case) -> AnyArray:
    """What the float16 graph is traced from, computed in float16: ONNX Runtime's CPU would compute it in float32."""
    half = Half(formed_model(model, "encoder").image_encoder)
    inputs = map(torch.from_numpy, encoder_inputs(medsam(1024), case.image).values())
    found = half(min_max(*inputs))
    assert isinstance(found, torch.Tensor)
    return found.numpy()


def test_float16_survives_outlier_channels_and_not_more(planted: Sam, case: Case) -> None:
    theirs = Reference(planted, medsam(1024)).embed(case.image)
    ours = in_float16(planted, case)
    assert np.isfinite(ours).all()
    assert cosine(ours, theirs) >= 0.999
    encoder = planted.image_encoder
    assert isinstance(encoder, ImageEncoder)
    plant(encoder, 100_000)
    try:
        assert not np.isfinite(in_float16(planted, case)).all()
    finally:
        plant(encoder, 10_000)


def test_the_float16_graph_is_the_float16_module(
    planted: Sam, half_graphs: list[Graph], case: Case, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    theirs = Reference(planted, medsam(1024)).embed(case.image)
    with opened("onnxruntime", half_graphs, medsam(1024), tmp_path) as predictor:
        assert cosine(predictor.embed(case.image).tensor.numpy(), theirs) >= 0.999


def test_the_report_sees_the_outliers_and_names_a_block_that_would_overflow(planted: Sam, case: Case) -> None:
    found = model_peaks(planted, medsam(1024), [case])
    blocks = [peak for peak in found if peak.block.startswith("blocks")]
    assert [peak.block for peak in blocks] == [f"blocks.{index}" for index in range(12)]
    assert all(peak.largest < 5000 for peak in blocks[:BLOCK])
    assert all(9000 < peak.largest < 65504 for peak in blocks[BLOCK:])
    require_room(found)
    encoder = planted.image_encoder
    assert isinstance(encoder, ImageEncoder)
    plant(encoder, 100_000)
    try:
        worse: tuple[Peak, ...] = model_peaks(planted, medsam(1024), [case])
    finally:
        plant(encoder, 10_000)
    with pytest.raises(ParityError, match=rf"1e\+05 in encoder blocks\.{BLOCK}"):
        require_room(worse)
