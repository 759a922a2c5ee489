"""Transformers' own image processor is the oracle: the values that reach the network, padding included."""

import numpy as np
import pytest
import torch
from medsam_edge.export.models.normalisation import MeanStd, MeanStdThenPadding, min_max, normalisation_of
from medsam_edge.runtime.profile import (
    VOCABULARY,
    Profile,
    medsam_hf_flaviagiammarino,
    medsam_hf_wanglab,
    profile_named,
)
from medsam_edge.runtime.profile_steps import encoder_inputs

HF = [medsam_hf_wanglab(64), medsam_hf_flaviagiammarino(64)]


@pytest.mark.parametrize("hw", [(48, 80), (97, 53), (7, 11), (64, 64)], ids=str)
@pytest.mark.parametrize("profile", HF, ids=lambda profile: profile.name)
def test_the_network_gets_what_the_processor_gives(profile: Profile, hw: tuple[int, int]) -> None:
    pytest.importorskip("transformers")
    from medsam_edge.benchmarks.source_steps import HF_RESAMPLE, image_processor

    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    wanted = image_processor(HF_RESAMPLE[profile.name], 64)(image, return_tensors="np")["pixel_values"]
    inputs = map(torch.from_numpy, encoder_inputs(profile, image).values())
    found = normalisation_of(profile)(*inputs).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(wanted))


def test_padding_is_zero_and_not_black() -> None:
    image = torch.full((1, 3, 4, 4), 200, dtype=torch.uint8)
    found = MeanStdThenPadding((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 4)(image, torch.tensor([3, 2], dtype=torch.int32))
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[:3, :2] = True
    assert (found[0, :, inside] > 1).all()
    assert (found[0, :, ~inside] == 0).all()


def test_channels_have_their_own_mean_and_std() -> None:
    found = MeanStd((0.0, 0.5, 1.0), (1.0, 0.5, 0.25))(torch.full((2, 3, 1, 1), 255, dtype=torch.uint8))
    assert found[1, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("name", VOCABULARY["name"])
def test_every_profile_has_a_normalisation(name: str) -> None:
    kinds = {"medsam-hf-wanglab": MeanStdThenPadding, "medsam-hf-flaviagiammarino": MeanStd}
    found = normalisation_of(profile_named(name, 64))
    assert type(found) is kinds[name] if name in kinds else found is min_max
