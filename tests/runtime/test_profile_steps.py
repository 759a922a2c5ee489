import hashlib
import json
import tracemalloc
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import ArtefactError, BoxError, ExitCode, ImageError, ParityError, UsageError
from medsam_edge.runtime.profile import VOCABULARY, Profile, litemedsam, medsam, profile_named
from medsam_edge.runtime.profile_steps import boxes_to_encoder, masks_from_logits, preprocess, scaled_size
from medsam_edge.runtime.types import AnyArray, Image, Logits


def synthetic() -> Image:
    """Rows shrink and columns grow; no resized value is near an integer, so rounding cannot move the hash."""
    y, x, channel = np.mgrid[:23, :11, :3]
    image: Image = ((33 * y * y + 37 * x + 91 * channel + 5 * x * y) % 256).astype(np.uint8)
    return image


def blobs(count: int, scale: float = 4.0) -> Logits:
    y, x = np.mgrid[:64, :64].astype(np.float32)
    maps = [np.sin(y / (5 + n)) * np.cos(x / (6 + n)) * scale + np.sin(x * y / 37) for n in range(count)]
    return np.array(maps, np.float32).reshape(count, 1, 64, 64)


def test_the_preprocessed_golden_image_has_not_changed() -> None:
    found = preprocess(medsam(16), synthetic())
    assert found.shape == (1, 3, 16, 16)
    digest = hashlib.sha256(found.tobytes()).hexdigest()
    assert digest == "7dd9e68891373f26d34afdf50607d1d89069f777a8d8b3f81a22adfced4616ab"


@pytest.mark.parametrize("hw", [(20, 30), (16, 16), (9, 16)], ids=str)
@pytest.mark.parametrize("grey", [False, True])
def test_the_encoder_gets_contiguous_uint8_planes(hw: tuple[int, int], grey: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*hw, 1 if grey else 3), dtype=np.uint8)
    found = preprocess(medsam(16), np.repeat(image, 4 - image.shape[2] if grey else 1, axis=2))
    assert found.shape == (1, 3, 16, 16)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    if hw == (16, 16):
        assert np.array_equal(found[0].transpose(1, 2, 0), np.broadcast_to(image, (16, 16, 3)))


def test_preprocessing_refuses_a_grey_image_without_channels() -> None:
    with pytest.raises(ImageError):
        preprocess(medsam(16), np.zeros((20, 30), np.uint8))


def test_boxes_scale_by_the_image_sides() -> None:
    boxes = np.array([[10, 20, 110, 95], [0, 0, 200, 100]], np.float32)
    found = boxes_to_encoder(medsam(1024), boxes, (100, 200))
    expected = [[51.2, 204.8, 563.2, 972.8], [0, 0, 1024, 1024]]
    assert found.dtype == np.float32
    assert np.array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize("size", [1024, 1000])
def test_boxes_are_those_of_the_source_to_the_last_bit(size: int) -> None:
    torch = pytest.importorskip("torch")
    boxes = np.random.default_rng(0).uniform(0, 600, (200, 4)).astype(np.float32)
    source = boxes / np.array([641, 479, 641, 479]) * size
    expected = torch.as_tensor(source, dtype=torch.float).numpy()
    assert np.array_equal(boxes_to_encoder(medsam(size), boxes, (479, 641)), expected)


def test_no_boxes_are_no_boxes() -> None:
    assert boxes_to_encoder(medsam(), np.zeros((0, 4), np.float32), (10, 20)).shape == (0, 4)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 1, 4)])
def test_boxes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BoxError, match=r"boxes \(N, 4\)"):
        boxes_to_encoder(medsam(), np.zeros(shape, np.float32), (10, 20))


def source_masks(logits: Logits, hw: tuple[int, int], sigmoid_first: bool) -> AnyArray:
    torch = pytest.importorskip("torch")
    maps = torch.from_numpy(logits)
    steps = [torch.sigmoid, lambda x: torch.nn.functional.interpolate(x, hw, mode="bilinear")]
    for step in steps if sigmoid_first else steps[::-1]:
        maps = step(maps)
    masks: AnyArray = (maps > 0.5)[:, 0].numpy()
    return masks


def assert_same_masks(found: AnyArray, expected: AnyArray) -> None:
    """But for a pixel whose probability is 0.5 to the last bit, where the order of a sum decides."""
    assert found.shape == expected.shape
    assert np.count_nonzero(found != expected) <= 2


def test_probabilities_are_interpolated_and_not_logits() -> None:
    logits, hw = blobs(3, scale=9.0), (301, 407)
    found = masks_from_logits(medsam(), logits, hw)
    assert found.dtype == np.bool_
    assert_same_masks(found, source_masks(logits, hw, sigmoid_first=True))
    other_order = source_masks(logits, hw, sigmoid_first=False)
    assert 0.001 < np.mean(found != other_order) < 0.1


@pytest.mark.parametrize("hw", [(64, 64), (20, 31), (700, 50)], ids=str)
def test_masks_equal_the_source_for_images_of_any_size(hw: tuple[int, int]) -> None:
    logits = blobs(18)
    assert_same_masks(masks_from_logits(medsam(), logits, hw), source_masks(logits, hw, sigmoid_first=True))


def test_the_profile_threshold_decides() -> None:
    logits = blobs(1)
    strict = replace(medsam(), threshold=0.9)
    low, high = (masks_from_logits(profile, logits, (90, 90)) for profile in (medsam(), strict))
    assert (low & high == high).all()
    assert low.sum() > 1.2 * high.sum() > 0


def test_no_boxes_and_nothing_found_give_empty_masks() -> None:
    assert masks_from_logits(medsam(), blobs(0), (10, 20)).shape == (0, 10, 20)
    assert not masks_from_logits(medsam(), np.full((2, 1, 8, 8), -3, np.float32), (10, 20)).any()


def test_huge_logits_neither_warn_nor_flip() -> None:
    logits = np.full((1, 1, 8, 8), -1e4, np.float32)
    logits[..., 4:] = 1e4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks = masks_from_logits(medsam(), logits, (16, 16))
    assert masks[0, :, 8:].all()
    assert not masks[0, :, :8].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_a_parity_error(value: float) -> None:
    logits = blobs(2)
    logits[1, 0, 3, 3] = value
    with pytest.raises(ParityError, match="finite logits") as caught:
        masks_from_logits(medsam(), logits, (10, 10))
    assert caught.value.exit_code is ExitCode.PARITY


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 3, 8, 8)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"logits \(N, 1, h, w\)"):
        masks_from_logits(medsam(), np.zeros(shape, np.float32), (10, 10))


def test_three_hundred_masks_need_little_more_than_themselves() -> None:
    logits, hw = np.repeat(blobs(1), 300, axis=0), (400, 500)
    tracemalloc.start()
    masks = masks_from_logits(medsam(), logits, hw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < masks.nbytes + 16 * hw[0] * hw[1] + 2 * logits.nbytes


def test_a_profile_survives_json() -> None:
    written = json.dumps(medsam(256).to_dict())
    assert Profile.from_dict(json.loads(written)) == medsam(256)
    assert profile_named("medsam", 256) == medsam(256)


def test_the_published_model_is_the_default() -> None:
    assert medsam().image_size == 1024
    assert medsam().threshold == 0.5


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="medsam"):
        profile_named("medsam2", 256)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "256"])
def test_an_impossible_size_is_a_usage_error(size: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(UsageError, match="image size"):
        medsam(size)


@pytest.mark.parametrize("field", VOCABULARY)
def test_a_value_from_the_future_names_the_toolkit_that_is_needed(field: str) -> None:
    value = 2 if field == "version" else "something new"
    with pytest.raises(ArtefactError, match="install a medsam-edge toolkit that knows") as caught:
        Profile.from_dict({**medsam().to_dict(), field: value})
    assert field in str(caught.value)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", True),
        ("version", 1.0),
        ("name", ["medsam"]),
        ("image_size", "1024"),
        ("image_size", 0),
        ("image_size", True),
        ("threshold", 1),
        ("threshold", float("nan")),
        ("threshold", "0.5"),
    ],
    ids=repr,
)
def test_values_of_the_wrong_kind_are_refused(field: str, value: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(ArtefactError, match=field):
        Profile.from_dict({**medsam().to_dict(), field: value})


def test_missing_and_extra_fields_are_refused() -> None:
    data = medsam().to_dict()
    cases: list[Any] = [{**data, "padding": "none"}, {k: data[k] for k in data if k != "kernel"}, [], None]
    for wrong in cases:
        with pytest.raises(ArtefactError, match="profile with the fields"):
            Profile.from_dict(wrong)


SIZES = [(300, 211), (520, 696), (64, 80), (256, 100), (200, 200), (17, 256), (512, 512)]


def lite_source(image: Image, side: int) -> AnyArray:
    """LiteMedSAM's own steps with its own library: resize, normalise, pad with zeros."""
    cv2 = pytest.importorskip("cv2")
    scale = side / max(image.shape[:2])
    height, width = (int(length * scale + 0.5) for length in image.shape[:2])
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
    unit = (resized - resized.min()) / max(resized.max() - resized.min(), 1e-8)
    padded: AnyArray = np.pad(unit, ((0, side - height), (0, side - width), (0, 0)))
    return padded


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_litemedsam_sees_what_its_source_saw(hw: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(7, 250, (*hw, 3), np.uint8)
    found = preprocess(litemedsam(), image)
    assert (found.shape, found.dtype) == ((1, 3, 256, 256), np.uint8)
    pixels = found[0].transpose(1, 2, 0).astype(np.float64)
    unit = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    differing = np.abs(unit - lite_source(image, 256)) > 1e-9
    assert differing.mean() < 1e-4


def test_litemedsam_cuts_boxes_to_whole_pixels() -> None:
    boxes = np.array([[10.9, 20.5, 110.0, 95.9], [0, 0, 200, 100]], np.float32)
    expected = (boxes * (256 / 200)).astype(int)
    np.testing.assert_array_equal(boxes_to_encoder(litemedsam(), boxes, (100, 200)), expected)


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_litemedsam_crops_and_interpolates_logits(hw: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(2).normal(0, 4, (3, 1, 256, 256)).astype(np.float32)
    height, width = scaled_size(hw, 256)
    cropped = torch.from_numpy(logits)[:, :, :height, :width]
    expected = torch.sigmoid(torch.nn.functional.interpolate(cropped, hw, mode="bilinear"))[:, 0].numpy() > 0.5
    assert_same_masks(masks_from_logits(litemedsam(), logits, hw), expected)


def test_a_line_that_would_vanish_is_refused() -> None:
    with pytest.raises(ImageError, match="of which a pixel is left at 256 pixels"):
        preprocess(litemedsam(), np.zeros((1, 4000, 3), np.uint8))


@pytest.mark.parametrize("name", ["medsam", "litemedsam", "litemedsam-slicer"])
def test_a_profile_is_found_by_its_name_and_survives_json(name: str) -> None:
    profile = profile_named(name, 256)
    assert (profile.name, profile.image_size) == (name, 256)
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile
