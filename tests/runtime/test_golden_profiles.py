"""Our steps against golden_profiles.json, without the libraries that made it; and the file against those libraries."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.profile import VOCABULARY, Profile, profile_named
from medsam_edge.runtime.profile_steps import boxes_to_encoder, encoder_inputs, masks_from_logits
from medsam_edge.runtime.types import AnyArray, Logits

HERE = Path(__file__).parent
NAMES = tuple(map(str, VOCABULARY["name"]))


def script() -> ModuleType:
    """The script's formulas; what it takes from the libraries is loaded only when it is asked for."""
    spec = importlib.util.spec_from_file_location("make_golden_profiles", HERE / "make_golden_profiles.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = script()
GOLDEN: dict[str, Any] = json.loads((HERE / "golden_profiles.json").read_text())
PAIRS = [(profile, image) for profile in NAMES for image in MAKE.IMAGES]


@pytest.fixture(params=PAIRS, ids=" ".join)
def pair(request: pytest.FixtureRequest) -> tuple[Profile, str]:
    profile, image = request.param
    return profile_named(profile, GOLDEN["image_size"]), image


def vector(pair: tuple[Profile, str]) -> dict[str, Any]:
    found: dict[str, Any] = GOLDEN["profiles"][pair[0].name][pair[1]]
    return found


def picture(name: str) -> AnyArray:
    size = GOLDEN["images"][name]
    made: AnyArray = MAKE.image(size["height"], size["width"], size["grey"])
    return made


def logits() -> Logits:
    stored = np.array(GOLDEN["logits_times_1024"], np.float32)
    return stored[:, None] / 1024


def test_every_profile_has_vectors_of_every_image() -> None:
    assert {name: set(images) for name, images in GOLDEN["profiles"].items()} == {
        name: set(MAKE.IMAGES) for name in NAMES
    }


def test_the_encoder_sees_what_the_source_saw(pair: tuple[Profile, str]) -> None:
    wanted, found = vector(pair), encoder_inputs(pair[0], picture(pair[1]))
    assert found.get("valid_hw", np.zeros(0, int)).tolist() == wanted.get("valid_hw", [])
    if not GOLDEN["allowed_fraction"][pair[0].name]:
        assert MAKE.digest(found["image"]) == wanted["encoder_input_sha256"]
        return
    rows = {int(row): np.array(values) for row, values in wanted["encoder_input_rows"].items()}
    difference = np.abs(np.stack([found["image"][0, :, row] - values for row, values in rows.items()]))
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= GOLDEN["allowed_fraction"][pair[0].name]


def test_boxes_arrive_where_the_source_has_them(pair: tuple[Profile, str]) -> None:
    size = GOLDEN["images"][pair[1]]
    given = np.array(GOLDEN["given_boxes"][pair[1]], np.float32)
    found = boxes_to_encoder(pair[0], given, (size["height"], size["width"]))
    np.testing.assert_array_equal(found, np.array(vector(pair)["boxes"], np.float32))


def test_masks_are_the_sources_to_the_pixel(pair: tuple[Profile, str]) -> None:
    size = GOLDEN["images"][pair[1]]
    found = masks_from_logits(pair[0], logits(), (size["height"], size["width"]))
    assert [{"pixels": int(mask.sum()), "sha256": MAKE.digest(mask)} for mask in found] == vector(pair)["masks"]
    assert not found[2].any()
    assert found[:2].any(axis=(1, 2)).all()


def test_the_profiles_tell_each_other_apart() -> None:
    """Two profiles with the same vectors would mean that a mistake in one of them stays unseen."""
    inputs = {name: GOLDEN["profiles"][name]["odd"]["encoder_input_sha256"] for name in NAMES}
    assert inputs.pop("litemedsam-slicer") == inputs["medsam"]  # at one S they are one
    assert len(set(inputs.values())) == len(inputs)


@pytest.mark.parametrize("profile", NAMES)
def test_the_libraries_still_say_what_the_file_says(profile: str) -> None:
    for module in ("skimage", "cv2", "torch", "transformers"):
        pytest.importorskip(module)
    again = {name: MAKE.vectors(profile, name) for name in MAKE.IMAGES}
    assert json.loads(json.dumps(again)) == GOLDEN["profiles"][profile]


def test_the_formulas_are_those_of_the_file() -> None:
    assert {name: MAKE.boxes(*size[:2]).tolist() for name, size in MAKE.IMAGES.items()} == GOLDEN["given_boxes"]
    np.testing.assert_array_equal(MAKE.logits(), logits())
