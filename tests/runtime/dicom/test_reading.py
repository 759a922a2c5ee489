from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.dicom.reading import read_series
from medsam_edge.runtime.errors import DicomError
from medsam_edge.runtime.types import AnyArray

Maker = Callable[..., Path]
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
NEGATED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE, SAGITTAL, NEGATED])
def test_slices_are_sorted_along_their_normal_and_placed_by_their_positions(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray, orientation: tuple[float, ...]
) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels, orientation))
    np.testing.assert_array_equal(series.voxels(), voxels.astype(np.int32) - 1024)
    assert series.spacing == (pytest.approx(2.5), 0.5, 0.75)
    assert series.affine is not None
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    at = series.affine @ (3, 5, 2, 1)  # column 3, row 5, slice 2
    expected = np.array([-10, 20, 30]) + 3 * 0.75 * row + 5 * 0.5 * column + 2 * 2.5 * np.cross(row, column)
    np.testing.assert_allclose(at[:3], expected, atol=1e-5)


def test_the_ras_affine_flips_x_and_y(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    assert series.affine_ras is not None
    expected = [[-0.75, 0, 0, 10], [0, -0.5, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(series.affine_ras, expected)


def test_a_spacing_between_slices_that_lies_moves_nothing(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels, SpacingBetweenSlices="5"))
    assert series.spacing[0] == pytest.approx(2.5)


def test_each_slice_knows_its_instance(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    assert len({uid for uid, _ in series.sources}) == 6
    assert {number for _, number in series.sources} == {1}
    one = series.only(4)
    assert one.sources == (series.sources[4],)
    np.testing.assert_array_equal(one.values(0), series.values(4))
    assert one.affine is not None
    assert series.affine is not None
    np.testing.assert_allclose(one.affine[:3, 3], (series.affine @ (0, 0, 4, 1))[:3])


def test_an_enhanced_image_gives_its_frames_in_order_with_their_own_rescale(
    tmp_path: Path, enhanced_ct: Maker, voxels: AnyArray
) -> None:
    series = read_series(enhanced_ct(tmp_path / "e.dcm", voxels, (3, 0, 5, 1, 4, 2)))
    assert [number for _, number in series.sources] == [2, 4, 6, 1, 5, 3]
    expected = voxels.astype(np.int32) - 100 * np.arange(6)[:, None, None]
    np.testing.assert_array_equal(series.voxels(), expected)
    assert series.spacing == (pytest.approx(2.0), 0.5, 0.75)


def test_a_cine_is_a_series_without_places(
    tmp_path: Path, dicom_image: Callable[..., object], save_dicom: Callable[..., Path]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 10, 12, 3), np.uint8)
    series = read_series(save_dicom(dicom_image(pixels, "CINE", NumberOfFrames=4), tmp_path / "us.dcm"))
    assert (series.affine, series.spacing, series.is_colour) == (None, (None, None, None), True)
    np.testing.assert_array_equal(series.voxels(), pixels)


def places(steps: list[float], lean: float = 0.0) -> AnyArray:
    depths = np.concatenate([[0], np.cumsum(steps)])
    return np.stack([np.zeros_like(depths), depths * lean, depths], axis=1)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (places([2, 2, 4, 2, 2]), ("gaps", "4.000 mm between 4.00 and 8.00")),
        (places([2, 2, 0, 2, 2]), ("place of its own", "2 or more at 4.00")),
        (places([2, 2, 2.2, 2, 2]), ("gaps", "2.200 mm")),
        (places([2, 2, 2, 2, 2], lean=0.2), ("gantry tilt", "11.3 degrees")),
    ],
    ids=["a missing slice", "a duplicate", "an uneven step", "tilted"],
)
def test_an_irregular_stack_is_refused_with_what_was_found(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray, where: AnyArray, words: tuple[str, ...]
) -> None:
    folder = ct_series(tmp_path / "ct", voxels, places=where)
    with pytest.raises(DicomError) as caught:
        read_series(folder)
    assert all(word in str(caught.value) for word in words)
    one = read_series(sorted(folder.iterdir())[0])  # the remedy works
    assert len(one.slices) == 1


def test_a_stack_with_a_slice_that_points_elsewhere_is_refused(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray
) -> None:
    ct_series(tmp_path / "ct", voxels)
    ct_series(tmp_path / "other", voxels[:1], OBLIQUE)
    next((tmp_path / "other").iterdir()).rename(tmp_path / "ct" / "localizer.dcm")
    with pytest.raises(DicomError, match="1 of 7 slices that point elsewhere"):
        read_series(tmp_path / "ct")


def test_slices_of_two_sizes_are_refused(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    ct_series(tmp_path / "ct", voxels)
    ct_series(tmp_path / "other", voxels[:1, :8], start=(-10, 20, 60))
    next((tmp_path / "other").iterdir()).rename(tmp_path / "ct" / "small.dcm")
    with pytest.raises(DicomError, match="slices of one size; found 16 x 24; 8 x 24"):
        read_series(tmp_path / "ct")


def test_two_series_are_listed_by_uid_and_description_until_one_is_chosen(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray
) -> None:
    ct_series(tmp_path / "ct", voxels, SeriesDescription="abdomen 2.5")
    ct_series(tmp_path / "other", voxels[:1], SeriesInstanceUID="9.8.7", PatientName="SECRET")
    next((tmp_path / "other").iterdir()).rename(tmp_path / "ct" / "other.dcm")
    with pytest.raises(DicomError) as caught:
        read_series(tmp_path / "ct")
    text = str(caught.value)
    assert all(part in text for part in ("1.2.3.4 (CT, 6 files, “abdomen 2.5”)", "9.8.7 (CT, 1 file)", "--series"))
    assert "SECRET" not in text
    assert len(read_series(tmp_path / "ct", "9.8.7").slices) == 1
    with pytest.raises(DicomError, match="images of the series 5"):
        read_series(tmp_path / "ct", "5.5")


def test_files_that_are_no_images_are_passed_over(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    folder = ct_series(tmp_path / "ct", voxels)
    (folder / "notes.txt").write_text("no DICOM")
    assert len(read_series(folder).slices) == 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(DicomError, match="none among 0 DICOM files"):
        read_series(tmp_path / "empty")


def test_a_copy_of_a_slice_is_refused(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    folder = ct_series(tmp_path / "ct", voxels)
    first = next(folder.iterdir())
    (folder / "copy.dcm").write_bytes(first.read_bytes())
    with pytest.raises(DicomError, match="two files of one SOPInstanceUID"):
        read_series(folder)


def test_a_slice_that_is_not_there_is_refused(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    for index in (-1, 6):
        with pytest.raises(DicomError, match="a slice from 0 to 5"):
            series.values(index)
