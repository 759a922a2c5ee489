from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from medsam_edge.runtime.dicom import seg_write
from medsam_edge.runtime.dicom.reading import read_series
from medsam_edge.runtime.dicom.seg_check import check_seg
from medsam_edge.runtime.dicom.seg_read import read_seg
from medsam_edge.runtime.dicom.seg_write import write_seg
from medsam_edge.runtime.dicom.segments import Algorithm, Code, Segment
from medsam_edge.runtime.errors import DicomError, DicomSegError, UsageError
from medsam_edge.runtime.types import AnyArray

Maker = Callable[..., Path]
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
NEGATED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
SEGMENTS = (Segment("first"), Segment("second"), Segment("third"))
ALGORITHM = Algorithm("tiny", "1.2", {"profile": "medsam", "encoder": "0" * 64})


def labels() -> AnyArray:
    """Three objects of odd shapes; slice 0 and slice 3 are empty."""
    made = np.zeros((6, 16, 24), np.uint8)
    made[1:3, 2:7, 3:9], made[4, 5:14, 11:20], made[5, 1, 1] = 1, 2, 3
    made[2, 3, 4] = 2
    return made


def by_highdicom(path: Path, sources: list[tuple[str, int]], segment: int) -> AnyArray:
    seg = highdicom.seg.segread(path)
    options = {"segment_numbers": [segment], "assert_missing_frames_are_empty": True, "ignore_spatial_locations": True}
    if len({uid for uid, _ in sources}) > 1:
        found = seg.get_pixels_by_source_instance([uid for uid, _ in sources], **options)
    else:
        found = seg.get_pixels_by_source_frame(sources[0][0], [number for _, number in sources], **options)
    masks: AnyArray = found[..., 0] > 0
    return masks


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize("empty_frames", [False, True])
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE, NEGATED])
def test_a_series_comes_back_voxel_for_voxel(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray, kind: str, empty_frames: bool, orientation: tuple[float, ...]
) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels, orientation, SpacingBetweenSlices="5"))
    written = write_seg(tmp_path / "seg.dcm", series, labels(), SEGMENTS, ALGORITHM, kind, empty_frames)
    assert [(one.number, one.label, one.voxels) for one in written.segments] == [
        (1, "first", 59),
        (2, "second", 82),
        (3, "third", 1),
    ]
    for number in (1, 2, 3):
        back = by_highdicom(tmp_path / "seg.dcm", list(series.sources), number)
        np.testing.assert_array_equal(back, labels() == number)
    found = read_seg(tmp_path / "seg.dcm", series)
    assert sorted(found) == [1, 2, 4, 5]
    assert (found[2].numbers, found[2].labels) == ((1, 2), ("first", "second"))
    np.testing.assert_array_equal(found[2].masks, [labels()[2] == 1, labels()[2] == 2])


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_an_enhanced_image_comes_back_frame_for_frame(
    tmp_path: Path, enhanced_ct: Maker, voxels: AnyArray, kind: str
) -> None:
    series = read_series(enhanced_ct(tmp_path / "e.dcm", voxels, (3, 0, 5, 1, 4, 2)))
    write_seg(tmp_path / "seg.dcm", series, labels(), SEGMENTS, ALGORITHM, kind)
    for number in (1, 2, 3):
        back = by_highdicom(tmp_path / "seg.dcm", list(series.sources), number)
        np.testing.assert_array_equal(back, labels() == number)
    one = series.only(2)
    write_seg(tmp_path / "one.dcm", one, labels()[2:3], SEGMENTS, ALGORITHM, kind)
    np.testing.assert_array_equal(by_highdicom(tmp_path / "one.dcm", list(one.sources), 2)[0], labels()[2] == 2)


def test_frames_that_end_inside_a_byte_come_back_too(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels[:, :15, :23]))
    masks = labels()[:, :15, :23]
    write_seg(tmp_path / "seg.dcm", series, masks, SEGMENTS, ALGORITHM)
    found = read_seg(tmp_path / "seg.dcm", series)
    np.testing.assert_array_equal(found[5].masks[0], masks[5] == 3)
    np.testing.assert_array_equal(by_highdicom(tmp_path / "seg.dcm", list(series.sources), 2), masks == 2)


def test_what_a_seg_says_of_geometry_and_sources_is_the_sources(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray
) -> None:
    folder = ct_series(tmp_path / "ct", voxels, SpacingBetweenSlices="5")
    series = read_series(folder)
    write_seg(tmp_path / "seg.dcm", series, labels(), SEGMENTS, ALGORITHM)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (float(measures.SpacingBetweenSlices), list(measures.PixelSpacing)) == (2.5, [0.5, 0.75])
    positions = {one.file.sop_instance_uid: one.frame.position for one in series.slices}
    for group in seg.PerFrameFunctionalGroupsSequence:
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert tuple(group.PlanePositionSequence[0].ImagePositionPatient) == positions[uid]
    assert seg.FrameOfReferenceUID == "1.2.3.5"
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == "1.2.3.4"
    assert {each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence} == set(positions)


def test_segments_carry_their_codes_and_the_model(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    liver = Segment("Liver", Code("123037004", "SCT", "Anatomical Structure"), Code("10200004", "SCT", "Liver"))
    write_seg(tmp_path / "seg.dcm", series, (labels() == 1).astype(int), [liver], ALGORITHM)
    (item,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    category, kind = item.SegmentedPropertyCategoryCodeSequence[0], item.SegmentedPropertyTypeCodeSequence[0]
    assert (category.CodeMeaning, kind.CodeValue, kind.CodeMeaning) == ("Anatomical Structure", "10200004", "Liver")
    assert (item.SegmentLabel, item.SegmentAlgorithmType) == ("Liver", "SEMIAUTOMATIC")
    identified = item.SegmentationAlgorithmIdentificationSequence[0]
    assert (identified.AlgorithmName, identified.AlgorithmVersion) == ("tiny", "1.2")
    assert all(part in identified.AlgorithmParameters for part in ("medsam", "0" * 64))


def test_masks_that_overlap_are_kept_apart_in_a_binary_seg_only(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray
) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    masks = np.zeros((2, 6, 16, 24), np.bool_)
    masks[0, 2, 3:9, 3:9], masks[1, 2, 6:12, 6:12] = True, True
    write_seg(tmp_path / "seg.dcm", series, masks, SEGMENTS[:2], ALGORITHM)
    for number in (1, 2):
        back = by_highdicom(tmp_path / "seg.dcm", list(series.sources), number)
        np.testing.assert_array_equal(back, masks[number - 1])
    with pytest.raises(UsageError, match="segment 2 over another"):
        write_seg(tmp_path / "map.dcm", series, masks, SEGMENTS[:2], ALGORITHM, "labelmap")


def test_an_empty_segment_is_left_out_and_said(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    masks = np.where(labels() == 2, 0, labels())
    written = write_seg(tmp_path / "seg.dcm", series, masks, SEGMENTS, ALGORITHM)
    assert [(one.number, one.given, one.label) for one in written.segments] == [(1, 1, "first"), (2, 3, "third")]
    assert written.empty == ("second",)
    with pytest.raises(DicomError, match="none in any segment"):
        write_seg(tmp_path / "none.dcm", series, masks * 0, SEGMENTS, ALGORITHM)
    assert not (tmp_path / "none.dcm").exists()


@pytest.mark.parametrize(("kind", "number"), [("CR", 1), ("US", 1), ("CINE", 3)])
@pytest.mark.parametrize("seg_kind", ["binary", "labelmap"])
def test_images_without_places_are_segmented_one_frame_at_a_time(
    tmp_path: Path,
    dicom_image: Callable[..., pydicom.FileDataset],
    save_dicom: Maker,
    kind: str,
    number: int,
    seg_kind: str,
) -> None:
    frames = {"NumberOfFrames": 4} if kind == "CINE" else {}
    pixels = np.random.default_rng(1).integers(0, 256, (4, 16, 24) if frames else (16, 24), np.uint8)
    series = read_series(save_dicom(dicom_image(pixels, kind, **frames), tmp_path / "a.dcm")).only(number - 1)
    write_seg(tmp_path / "seg.dcm", series, labels()[2:3], SEGMENTS, ALGORITHM, seg_kind)
    found = read_seg(tmp_path / "seg.dcm", series)[0]
    np.testing.assert_array_equal(found.masks, [labels()[2] == 1, labels()[2] == 2])
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert "FrameOfReferenceUID" not in seg
    source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.get("ReferencedFrameNumber") == (3 if frames else None)


def test_a_seg_of_a_whole_cine_is_refused(
    tmp_path: Path, dicom_image: Callable[..., pydicom.FileDataset], save_dicom: Maker
) -> None:
    pixels = np.zeros((4, 16, 24), np.uint8)
    series = read_series(save_dicom(dicom_image(pixels, "CINE", NumberOfFrames=4), tmp_path / "a.dcm"))
    with pytest.raises(DicomError, match="4 frames of US without positions"):
        write_seg(tmp_path / "seg.dcm", series, labels()[:4], SEGMENTS, ALGORITHM)


def test_masks_that_do_not_fit_are_refused(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))

    def write(masks: AnyArray, **options: str) -> None:
        write_seg(tmp_path / "seg.dcm", series, masks, SEGMENTS, ALGORITHM, **options)

    for masks in (labels()[:5], labels().astype(float), labels() > 0, labels()[:, :, :8]):
        with pytest.raises(UsageError, match=r"expected labels \(6, 16, 24\)"):
            write(masks)
    with pytest.raises(UsageError, match="3 for masks of 4"):
        write(np.where(labels() == 1, 4, 0))
    with pytest.raises(UsageError, match="labels of 0 or more"):
        write(labels().astype(np.int16) - 1)
    with pytest.raises(UsageError, match="binary or labelmap"):
        write(labels(), kind="fractional")


def test_highdicoms_own_volume_is_compared_too(tmp_path: Path, ct_series: Maker, voxels: AnyArray) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    write_seg(tmp_path / "seg.dcm", series, labels(), SEGMENTS, ALGORITHM)
    assert check_seg(tmp_path / "seg.dcm", series, labels()) == 5
    assert series.affine is not None
    for column, shift in ((2, series.affine[:3, 2]), (3, series.affine[:3, 2]), (3, (0.3, 0, 0))):
        affine = series.affine.copy()
        affine[:3, column] += shift
        with pytest.raises(DicomSegError, match="highdicom puts it elsewhere"):
            check_seg(tmp_path / "seg.dcm", replace(series, affine=affine), labels())


def lying_spacing(seg: pydicom.Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = "5"


def moved(seg: pydicom.Dataset) -> None:
    place = seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    place.ImagePositionPatient = [-10, 20, 31]


def swapped(seg: pydicom.Dataset) -> None:
    first, second = (
        group.DerivationImageSequence[0].SourceImageSequence[0] for group in seg.PerFrameFunctionalGroupsSequence[:2]
    )
    second.ReferencedSOPInstanceUID = first.ReferencedSOPInstanceUID


def one_voxel(seg: pydicom.Dataset) -> None:
    seg.PixelData = bytes([seg.PixelData[0] ^ 1]) + seg.PixelData[1:]


def a_frame_less(seg: pydicom.Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence = seg.PerFrameFunctionalGroupsSequence[:-1]
    seg.NumberOfFrames -= 1


def turned(seg: pydicom.Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, -1, 0]


@pytest.mark.parametrize("spoil", [lying_spacing, moved, swapped, one_voxel, a_frame_less, turned])
def test_a_seg_that_reads_back_otherwise_never_leaves(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray, monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., None]
) -> None:
    series = read_series(ct_series(tmp_path / "ct", voxels))
    target = tmp_path / "seg.dcm"
    target.write_bytes(b"old")
    honest = seg_write._put_numbers_back

    def spoilt(made: pydicom.Dataset, *rest: Any) -> None:  # noqa: ANN401
        honest(made, *rest)  # type: ignore[arg-type]
        spoil(made)

    monkeypatch.setattr(seg_write, "_put_numbers_back", spoilt)
    with pytest.raises(DicomSegError):
        write_seg(target, series, labels(), SEGMENTS, ALGORITHM)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"ct", "seg.dcm"}
