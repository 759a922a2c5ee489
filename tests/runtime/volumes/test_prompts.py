from collections.abc import Callable

import numpy as np
import pytest
from medsam_edge.runtime.boxes import boxes_from_labels
from medsam_edge.runtime.errors import BoxError, VolumeError
from medsam_edge.runtime.volumes.conventions import CONVENTIONS
from medsam_edge.runtime.volumes.planes import Slicing, slicing_named
from medsam_edge.runtime.volumes.prompts import (
    Prompt,
    VolumeBox,
    parse_volume_box,
    prompts_from_array,
    prompts_from_boxes,
    prompts_from_labels,
)
from medsam_edge.runtime.volumes.volume import Geometry, Volume

from .conftest import OBLIQUE

SHAPE = (10, 20, 30)
STORED, LITE, MEDFICIENT = Slicing("acquisition"), CONVENTIONS["litemedsam"], CONVENTIONS["medficientsam"]
Make = Callable[..., Volume]


def test_boxes_are_read_in_two_forms() -> None:
    assert parse_volume_box("1,2,3,4,5.5,6") == VolumeBox((1, 2, 3, 4, 5.5, 6))
    assert parse_volume_box("1,2,4,5@7") == VolumeBox((1, 2, 4, 5), 7)


@pytest.mark.parametrize("text", ["", "1,2,3,4", "1,2,3,4,5,6@7", "1,2,3,4@x", "1,2,3,4@1.5", "1,2,3,4,5,nan", "a@b"])
def test_other_texts_are_no_boxes(text: str) -> None:
    with pytest.raises(BoxError, match="z_min"):
        parse_volume_box(text)


def test_a_box_reaches_as_far_as_its_convention_says() -> None:
    box = [VolumeBox((2, 3, 4, 12, 13, 8))]
    assert prompts_from_boxes(box, SHAPE, STORED, LITE) == (Prompt((2, 3, 12, 13), 6, 4, 8),)
    assert prompts_from_boxes(box, SHAPE, STORED, MEDFICIENT) == (Prompt((2, 3, 12, 13), 6, 4, 7),)
    assert prompts_from_array([[2, 3, 4, 12, 13, 8]], SHAPE, STORED, LITE) == (Prompt((2, 3, 12, 13), 6, 4, 8),)


def test_a_box_on_one_slice_may_reach_everywhere() -> None:
    (found,) = prompts_from_boxes([VolumeBox((2, 3, 12, 13), 4)], SHAPE, STORED, LITE)
    assert found == Prompt((2, 3, 12, 13), 4, 0, 9)


def test_a_box_is_turned_with_the_slices() -> None:
    slicing = slicing_named("sagittal", Geometry(np.eye(4), "RAS"))  # slices along x; rows down z, columns along -y
    (found,) = prompts_from_boxes([VolumeBox((5, 2, 1, 9, 6, 3))], SHAPE, slicing, LITE)
    assert found == Prompt((19 - 6, 9 - 3, 19 - 2, 9 - 1), 7, 5, 9)
    (thin,) = prompts_from_boxes([VolumeBox((5, 2, 3, 9, 6, 3))], SHAPE, slicing, LITE)
    assert thin.box == (13, 6, 17, 7)  # one slice of the file is one row here, and is widened as flat labels are
    (edge,) = prompts_from_boxes([VolumeBox((5, 2, 1, 30, 20, 3))], SHAPE, slicing, LITE)
    assert (edge.box[0], edge.last) == (0, 29)  # the far edges of the file, one past the last voxel


@pytest.mark.parametrize(
    "corners",
    [
        (2, 3, 4, 12, 13, 10),
        (2, 3, -1, 12, 13, 8),
        (2, 3, 8, 12, 13, 4),
        (2, 3, 4.5, 12, 13, 8),
        (12, 3, 4, 2, 13, 8),
        (2, 3, 4, 2, 13, 8),
        (2, 3, 4, 31, 13, 8),
        (-1, 3, 4, 12, 13, 8),
        (2, 3, 4, 12, 1e30, 8),
        (2, 3, np.nan, 12, 13, 8),
        (2, 3, 4, 12, 13, np.inf),
        (2, np.nan, 4, 12, 13, 8),
    ],
)
def test_boxes_outside_or_without_extent_are_refused_by_their_number(corners: tuple[float, ...]) -> None:
    boxes = [VolumeBox((2, 3, 4, 12, 13, 8)), VolumeBox(corners)]
    with pytest.raises(BoxError, match="box 2"):
        prompts_from_boxes(boxes, SHAPE, STORED, LITE)


@pytest.mark.parametrize("slices", ["acquisition", "axial", "coronal", "sagittal"])
def test_boxes_outside_are_refused_however_the_volume_is_cut(slices: str) -> None:
    slicing = slicing_named(slices, Geometry(np.eye(4), "RAS"))
    for corners in ((-1, 3, 4, 12, 13, 8), (2, -1, 4, 12, 13, 8), (2, 3, 4, 31, 13, 8), (2, 3, 4, 12, 21, 8)):
        with pytest.raises(BoxError, match="inside its image"):
            prompts_from_boxes([VolumeBox(corners)], SHAPE, slicing, LITE)


def test_no_box_a_slice_that_is_not_there_and_an_exclusive_box_of_none_are_refused() -> None:
    for boxes in ([], [VolumeBox((2, 3, 12, 13), 10)], [VolumeBox((2, 3, 12, 13), -1)]):
        with pytest.raises(BoxError):
            prompts_from_boxes(boxes, SHAPE, STORED, LITE)
    assert prompts_from_boxes([VolumeBox((2, 3, 4, 12, 13, 4))], SHAPE, STORED, LITE)[0].last == 4
    with pytest.raises(BoxError, match="exclusive"):
        prompts_from_boxes([VolumeBox((2, 3, 4, 12, 13, 4))], SHAPE, STORED, MEDFICIENT)
    with pytest.raises(BoxError, match="N, 6"):
        prompts_from_array([[1, 2, 3, 4]], SHAPE, STORED, LITE)


def labels() -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[2:7, 4:9, 5:12] = 3
    voxels[6, 15, 20] = 40  # one voxel: its box is widened, as a flat one's is
    voxels[9, 19, 29] = 41  # one in the corner
    return voxels


@pytest.mark.parametrize("convention", [LITE, MEDFICIENT])
def test_boxes_from_labels_are_tight_and_keep_all_slices(volume_of: Make, convention: object) -> None:
    volume = volume_of(np.zeros(SHAPE, np.int16), OBLIQUE)
    found = prompts_from_labels(volume_of(labels(), OBLIQUE), volume, STORED, convention)  # type: ignore[arg-type]
    assert found[0] == Prompt((5, 4, 11, 8), 4, 2, 6, 3)
    assert found[1] == Prompt((20, 15, 21, 16), 6, 6, 6, 40)
    assert found[2] == Prompt((28, 18, 29, 19), 9, 9, 9, 41)


def test_boxes_from_labels_are_those_of_images_on_every_slice_and_slicing(volume_of: Make) -> None:
    random = np.random.default_rng(6)
    voxels = (random.integers(0, 40, SHAPE) * (random.random(SHAPE) < 0.02)).astype(np.int32)
    volume = volume_of(np.zeros(SHAPE, np.uint8))
    for name in ("acquisition", "axial", "coronal", "sagittal"):
        slicing = slicing_named(name, volume.geometry)
        found = prompts_from_labels(volume_of(voxels), volume, slicing, LITE)
        view = slicing.view(voxels)
        assert [one.label for one in found] == sorted(set(voxels.ravel().tolist()) - {0})
        for one in found:
            there = np.flatnonzero((view == one.label).any(axis=(1, 2)))
            assert (one.first, one.last) == (there[0], there[-1])
            (box,), _ = boxes_from_labels((view == one.label).any(axis=0).astype(np.uint8))
            assert one.box == tuple(box.tolist())


def test_labels_of_another_volume_are_refused(volume_of: Make) -> None:
    volume = volume_of(np.zeros(SHAPE, np.int16), OBLIQUE)
    moved = OBLIQUE.copy()
    moved[0, 3] += 1
    with pytest.raises(VolumeError, match="elsewhere"):
        prompts_from_labels(volume_of(labels(), moved), volume, STORED, LITE)
    with pytest.raises(VolumeError, match="shape"):
        prompts_from_labels(volume_of(labels()[1:], OBLIQUE), volume, STORED, LITE)
    with pytest.raises(BoxError, match="background only"):
        prompts_from_labels(volume_of(np.zeros(SHAPE, np.uint8), OBLIQUE), volume, STORED, LITE)
