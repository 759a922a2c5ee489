"""Phantoms are the ground that other tests stand on: reproducible, well-formed, not trivially solved."""

import numpy as np
import pytest
from medsam_edge.calibration.phantoms import MODALITIES, phantom, phantoms
from medsam_edge.runtime.errors import CaseError
from medsam_edge.runtime.types import Case

SEEDS = range(5)


@pytest.fixture(scope="module", params=MODALITIES)
def tight(request: pytest.FixtureRequest) -> list[Case]:
    """Some cases of one modality, of their own sizes, with unmoved boxes."""
    return [phantom(seed, request.param, jitter=0) for seed in SEEDS]


def test_the_same_seed_gives_the_same_bytes() -> None:
    for first, second in zip(phantoms(7), phantoms(7), strict=True):
        assert first.id == second.id
        assert first.image.tobytes() == second.image.tobytes()
        assert first.boxes.tobytes() == second.boxes.tobytes()
        assert masks(first).tobytes() == masks(second).tobytes()


def test_another_seed_gives_another_image() -> None:
    assert not np.array_equal(phantom(1, "CT").image, phantom(2, "CT").image)


def test_the_seed_goes_through_the_modalities() -> None:
    assert [case.modality for case in phantoms(7, first_seed=14)] == list(MODALITIES)


def test_the_identifiers_name_modality_and_seed() -> None:
    case = phantom(123, "CT")
    assert (case.id, case.patient) == ("phantom-CT-000123", "phantom-000123")


def test_arrays_have_the_types_and_shapes_of_a_case(tight: list[Case]) -> None:
    for case in tight:
        height, width, channels = case.image.shape
        assert (case.image.dtype, channels) == (np.uint8, 3)
        assert (case.boxes.dtype, case.boxes.shape) == (np.float32, (len(masks(case)), 4))
        assert (masks(case).dtype, masks(case).shape[1:]) == (np.bool_, (height, width))


def test_grey_modalities_have_equal_channels() -> None:
    for modality in ("CT", "MR", "Ultrasound", "X-ray"):
        image = phantom(0, modality).image
        assert (image == image[..., :1]).all()


def test_the_image_uses_the_range(tight: list[Case]) -> None:
    for case in tight:
        assert np.ptp(case.image) > 60


def test_the_number_of_objects_is_in_range(tight: list[Case]) -> None:
    for case in tight:
        assert 1 <= len(case.boxes) <= (16 if case.modality == "Microscopy" else 6)


def test_objects_are_neither_specks_nor_the_whole_image(tight: list[Case]) -> None:
    for mask in (mask for case in tight for mask in masks(case)):
        assert 40 <= mask.sum() <= 0.7 * mask.size
        assert min(np.ptp(side) + 1 for side in np.nonzero(mask)) >= 6


def test_boxes_without_jitter_are_the_bounds_of_the_masks(tight: list[Case]) -> None:
    for case in tight:
        for box, mask in zip(case.boxes, masks(case), strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_visible_objects_do_not_overlap_unless_transparent(tight: list[Case]) -> None:
    for case in tight:
        assert case.modality == "X-ray" or masks(case).sum(0).max() == 1


@pytest.mark.parametrize("jitter", [0.05, 0.3])
def test_moved_boxes_stay_ordered_inside_the_image_and_near(jitter: float) -> None:
    for still, moved in zip(phantoms(7, jitter=0), phantoms(7, jitter=jitter), strict=True):
        height, width = moved.image.shape[:2]
        x_min, y_min, x_max, y_max = moved.boxes.T
        assert ((x_min >= 0) & (x_min < x_max) & (x_max <= width - 1)).all()
        assert ((y_min >= 0) & (y_min < y_max) & (y_max <= height - 1)).all()
        sides = np.tile(still.boxes[:, 2:] - still.boxes[:, :2], 2)
        assert (np.abs(moved.boxes - still.boxes) <= jitter * sides + 1e-3).all()
        assert (moved.boxes != still.boxes).any()


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("size", [(97, 211), (320, 180)])
def test_any_size_can_be_asked_for(modality: str, size: tuple[int, int]) -> None:
    assert phantom(5, modality, size=size).image.shape == (*size, 3)


def test_some_phantoms_are_not_square() -> None:
    shapes = {case.image.shape[:2] for case in phantoms(21)}
    assert (256, 256) in shapes
    assert any(height != width for height, width in shapes)


def test_neither_the_box_nor_its_ellipse_is_the_answer(tight: list[Case]) -> None:
    scores = np.array([baselines(*pair) for case in tight for pair in zip(case.boxes, masks(case), strict=True)])
    box, ellipse = scores.mean(0)
    assert box <= 0.8
    assert ellipse <= 0.85


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(CaseError, match="found 'PET'"):
        phantom(0, "PET")


def masks(case: Case) -> np.ndarray:
    assert case.masks is not None
    return case.masks


def baselines(box: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """DSC of the filled box and of the ellipse inscribed in it."""
    rows, columns = np.indices(mask.shape)
    across = np.abs(columns - (box[0] + box[2]) / 2) / ((box[2] - box[0] + 1) / 2)
    down = np.abs(rows - (box[1] + box[3]) / 2) / ((box[3] - box[1] + 1) / 2)
    return dsc(np.maximum(across, down) <= 1, mask), dsc(np.hypot(across, down) <= 1, mask)


def dsc(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("size", [(5, 5), (47, 100), (100, 4000)])
def test_a_size_that_can_hold_no_scene_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CaseError, match="sides of 48 to 2048"):
        phantom(0, "CT", size=size)
