"""Profiles as data: what a manifest may say, and what it may not."""

import json
from typing import Any

import pytest
from medsam_edge.runtime.errors import ArtefactError
from medsam_edge.runtime.profile import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VOCABULARY,
    Profile,
    medsam,
    medsam_hf_flaviagiammarino,
    medsam_hf_wanglab,
    profile_named,
)


@pytest.mark.parametrize("name", VOCABULARY["name"])
def test_a_profile_survives_the_manifest(name: str) -> None:
    profile = profile_named(name, 128)
    assert (profile.name, profile.image_size) == (name, 128)
    data = json.loads(json.dumps(profile.to_dict()))
    assert data == profile.to_dict()
    assert Profile.from_dict(data) == profile


def test_the_published_files_are_stated() -> None:
    wanglab, flavia = medsam_hf_wanglab(), medsam_hf_flaviagiammarino()
    assert (wanglab.mean, wanglab.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert (flavia.mean, flavia.std) == ((0, 0, 0), (1, 1, 1))
    assert (wanglab.kernel, flavia.kernel) == ("pillow-bilinear", "pillow-bicubic")
    assert (wanglab.takes_valid_hw, flavia.takes_valid_hw, medsam().takes_valid_hw) == (True, False, False)
    assert wanglab.image_size == flavia.image_size == 1024


def test_a_min_max_profile_is_written_as_before_there_was_a_mean() -> None:
    assert not {"mean", "std"} & set(medsam().to_dict())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean", [0.1, 0.2]),
        ("mean", [0, 0, 0]),
        ("mean", "0.1"),
        ("mean", [0.1, 0.2, float("nan")]),
        ("std", [0.1, 0.2, 0.0]),
        ("std", [0.1, 0.2, -1.0]),
        ("std", None),
    ],
    ids=str,
)
def test_a_mean_or_std_that_cannot_be_used_is_refused(field: str, value: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(ArtefactError, match=f"a {field} of three finite floats"):
        Profile.from_dict({**medsam_hf_wanglab().to_dict(), field: value})


def test_a_mean_without_its_use_or_its_std_is_refused() -> None:
    with pytest.raises(ArtefactError, match="no mean beside 'min-max, in graph'"):
        Profile.from_dict({**medsam_hf_wanglab().to_dict(), "normalisation": "min-max, in graph"})
    alone = {key: value for key, value in medsam_hf_wanglab().to_dict().items() if key != "std"}
    with pytest.raises(ArtefactError, match="profile with the fields"):
        Profile.from_dict(alone)
    neither = {key: value for key, value in alone.items() if key != "mean"}
    with pytest.raises(ArtefactError, match="a mean of three finite floats"):
        Profile.from_dict(neither)
