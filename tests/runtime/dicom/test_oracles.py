"""SEGs as other programs read them: dcmqi (DCMTK and ITK, nothing of highdicom's) and SimpleITK. And a real CT."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.dicom.reading import read_series
from medsam_edge.runtime.dicom.seg_write import write_seg
from medsam_edge.runtime.dicom.segments import Algorithm, Segment
from medsam_edge.runtime.types import AnyArray

Maker = Callable[..., Path]
CASES = Path(__file__).parents[3].parent / "shared" / "cases"
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
NEGATED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def objects(shape: tuple[int, ...]) -> AnyArray:
    made = np.zeros(shape, np.uint8)
    depth, height, width = shape
    made[1 : depth - 1, height // 4 : height // 2, 3 : width // 2] = 1
    made[depth // 2, height // 2 + 1 : height - 1, width // 2 : width - 2] = 2
    return made


def by_dcmqi(seg: Path, out: Path) -> list[tuple[AnyArray, AnyArray]]:
    """Each segment as voxels `(D, H, W)` and its affine, from column, row, slice to LPS."""
    sitk = pytest.importorskip("SimpleITK")
    tool = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent)) or shutil.which("segimage2itkimage")
    if tool is None:
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    out.mkdir()
    words = ["--inputDICOM", seg, "--outputDirectory", out, "--outputType", "nii"]
    subprocess.run([tool, *map(str, words)], check=True, capture_output=True, timeout=300)
    count = len(json.loads((out / "meta.json").read_text())["segmentAttributes"])
    found = []
    for number in range(1, count + 1):
        image = sitk.ReadImage(str(out / f"{number}.nii.gz"))
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        found.append((sitk.GetArrayFromImage(image), affine))
    return found


def placed(voxels: AnyArray, affine: AnyArray) -> AnyArray:
    """The places of all voxels that are set, sorted, in hundredths of a millimetre."""
    indices = np.argwhere(voxels)[:, ::-1]
    points = indices @ affine[:3, :3].T + affine[:3, 3]
    rounded: AnyArray = np.unique(np.round(points * 100).astype(np.int64), axis=0)
    return rounded


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE, NEGATED])
def test_dcmqi_finds_every_voxel_in_its_place_though_the_header_lies(
    tmp_path: Path, ct_series: Maker, kind: str, orientation: tuple[float, ...]
) -> None:
    voxels = np.zeros((12, 20, 30), np.uint16)
    series = read_series(ct_series(tmp_path / "ct", voxels, orientation, SpacingBetweenSlices="5"))
    labels = objects(voxels.shape)
    write_seg(tmp_path / "seg.dcm", series, labels, [Segment("a"), Segment("b")], Algorithm("tiny"), kind)
    assert series.affine is not None
    found = by_dcmqi(tmp_path / "seg.dcm", tmp_path / "dcmqi")
    together = np.concatenate([placed(array, affine) for array, affine in found])
    expected = np.concatenate([placed(labels == number, series.affine) for number in (1, 2)])
    assert len(together) == int((labels > 0).sum())
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(expected, axis=0))


def test_simpleitk_reads_the_series_with_our_voxels_and_affine(
    tmp_path: Path, ct_series: Maker, voxels: AnyArray
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    series = read_series(ct_series(tmp_path / "ct", voxels, OBLIQUE))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(one.file.path) for one in series.slices])
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), series.voxels())
    assert series.affine is not None
    np.testing.assert_allclose(
        image.TransformContinuousIndexToPhysicalPoint((3.0, 5.0, 2.0)), (series.affine @ (3, 5, 2, 1))[:3]
    )


def of_nifti(path: Path) -> tuple[AnyArray, AnyArray]:
    """Voxels `(D, H, W)` and the affine in LPS."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(path)
    return np.asarray(image.dataobj).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ image.affine


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_real_ct_written_as_a_series_gives_a_seg_that_all_read_alike(
    tmp_path: Path, ct_series: Maker, kind: str
) -> None:
    if not (CASES / "3D_CT_totalseg.nii.gz").exists():
        pytest.skip(f"no cases in {CASES}")
    values, affine = of_nifti(CASES / "3D_CT_totalseg.nii.gz")
    labels, _ = of_nifti(CASES / "3D_CT_totalseg_seg.nii.gz")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    stored = (np.round(values) + 1024).clip(0).astype(np.uint16)
    places = (affine @ np.array([(0, 0, k, 1) for k in range(len(values))]).T).T[:, :3]
    orientation = (*(affine[:3, 0] / spacing[0]), *(affine[:3, 1] / spacing[1]))
    folder = ct_series(
        tmp_path / "ct", stored, orientation, spacing=(spacing[1], spacing[0]), places=places, SpacingBetweenSlices="7"
    )
    series = read_series(folder)
    assert series.affine is not None
    if np.linalg.det(affine[:3, :3]) < 0:  # the file's slices run against DICOM's normal
        labels, stored = labels[::-1], stored[::-1]
    np.testing.assert_array_equal(series.voxels() + 1024, stored)
    numbers = np.unique(labels[labels > 0])
    order = np.searchsorted(numbers, labels) + 1
    compact = np.where(labels > 0, order, 0).astype(np.uint8)
    segments = [Segment(f"label {number}") for number in numbers]
    written = write_seg(tmp_path / "seg.dcm", series, compact, segments, Algorithm("tiny"), kind)
    assert sum(one.voxels for one in written.segments) == int((labels > 0).sum())
    found = by_dcmqi(tmp_path / "seg.dcm", tmp_path / "dcmqi")
    together = np.concatenate([placed(array, where) for array, where in found])
    np.testing.assert_array_equal(np.unique(together, axis=0), placed(labels > 0, series.affine))
    assert len(together) == int((labels > 0).sum())
