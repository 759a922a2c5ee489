"""Encoder graphs of profiles that normalise by mean and std, in the runtimes that ship."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.export.graphs import Graph, finished, trace_encoder
from medsam_edge.export.models.normalisation import normalisation_of
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.reference import Reference
from medsam_edge.export.trials import opened
from medsam_edge.runtime.profile import Profile, medsam_hf_flaviagiammarino, medsam_hf_wanglab
from medsam_edge.runtime.types import Case

PROFILES = {profile.name: profile for profile in (medsam_hf_wanglab(64), medsam_hf_flaviagiammarino(64))}


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> Profile:
    return PROFILES[request.param]


@pytest.fixture(scope="module")
def graph(sam: Sam, profile: Profile) -> Graph:
    traced = trace_encoder(sam, profile)
    return Graph(traced.spec, finished(traced.model))


def test_only_padding_after_normalisation_needs_a_second_input(graph: Graph, profile: Profile) -> None:
    model = onnx.load_from_string(graph.data)
    names = ["image", "valid_hw"] if profile.takes_valid_hw else ["image"]
    assert [value.name for value in model.graph.input] == [spec.name for spec in graph.spec.inputs] == names
    assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Cast"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_backend_draws_what_the_reference_draws(
    sam: Sam,
    profile: Profile,
    graph: Graph,
    decoder_graph: Graph,
    phantom_cases: tuple[Case, ...],
    tmp_path: Path,
    backend: str,
) -> None:
    pytest.importorskip(backend)
    reference = Reference(sam, profile)
    with opened(backend, (graph, decoder_graph), profile, tmp_path) as predictor:
        for case in phantom_cases:
            wanted, found = reference.answer(case), predictor.segment(case.image, case.boxes)
            embedding = predictor.embed(case.image).tensor.numpy()
            np.testing.assert_allclose(embedding, wanted.image_embedding, atol=1e-3, rtol=1e-3)
            assert np.mean(found.masks != wanted.masks) < 1e-3


def test_padding_reaches_the_embedding_as_zero(sam: Sam) -> None:
    """Two squares that differ in their padding only are one image; told that it is image, they are not."""
    normalise = normalisation_of(medsam_hf_wanglab(64))
    black, white = (torch.full((1, 3, 64, 64), level, dtype=torch.uint8) for level in (0, 255))
    black[..., :40, :], white[..., :40, :] = 90, 90
    for valid, same in (([40, 64], True), ([64, 64], False)):
        hw = torch.tensor(valid, dtype=torch.int32)
        one, other = (sam.encode(image, hw, normalise=normalise) for image in (black, white))
        assert torch.equal(one, other) is same
