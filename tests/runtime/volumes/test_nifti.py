import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import MedSAMEdgeError, StorageError, VolumeError
from medsam_edge.runtime.volumes.nifti import read_nifti
from medsam_edge.runtime.volumes.streams import MAX_RATIO

from .conftest import OBLIQUE

nibabel = pytest.importorskip("nibabel")
Save = Callable[..., Path]
VOXELS = np.random.default_rng(1).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
PLACE = (
    "dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
def test_voxels_and_affine_are_nibabels(save_nifti: Save, name: str, kind: str) -> None:
    path = save_nifti(name, VOXELS, kind=kind)
    found, image = read_nifti(path), nibabel.load(path)
    np.testing.assert_array_equal(found.voxels, np.asanyarray(image.dataobj).transpose(2, 1, 0))
    assert found.geometry.affine.tobytes() == image.affine.tobytes()
    assert (found.geometry.space, found.shape) == ("RAS", (5, 6, 7))


def test_voxels_lie_where_simpleitk_puts_them(save_nifti: Save) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = save_nifti("a.nii.gz", VOXELS, np.diag([1.5, -2.0, 3.0, 1.0]))
    image, found = sitk.ReadImage(str(path)), read_nifti(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), found.voxels)
    lps = np.array(image.TransformIndexToPhysicalPoint((3, 1, 4)))
    ras = found.geometry.affine @ np.array([3, 1, 4, 1])
    np.testing.assert_allclose(lps * [-1, -1, 1], ras[:3], atol=1e-4)


@pytest.mark.parametrize("codes", [(0, 2), (1, 0), (3, 4), (0, 0)])
@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_come_back_under_the_same_header(
    save_nifti: Save, tmp_path: Path, codes: tuple[int, int], kind: str, dtype: type
) -> None:
    volume = read_nifti(save_nifti("a.nii.gz", VOXELS, kind=kind, qform_code=codes[0], sform_code=codes[1]))
    labels = np.arange(VOXELS.size, dtype=dtype).reshape(VOXELS.shape)
    (tmp_path / "b.nii.gz").write_bytes(volume.form.encode(labels))
    one, other = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "b.nii.gz")
    assert one.affine.tobytes() == other.affine.tobytes()
    assert all(one.header[field].tobytes() == other.header[field].tobytes() for field in PLACE)
    assert other.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asanyarray(other.dataobj).transpose(2, 1, 0), labels)
    assert read_nifti(tmp_path / "b.nii.gz").rescale == (1.0, 0.0)


def test_what_may_name_a_person_is_not_written_back(save_nifti: Save, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.transpose(2, 1, 0), OBLIQUE)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE 1970"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_nifti(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert b"DOE" not in gzip.decompress(volume.form.encode(np.zeros(VOXELS.shape, np.uint8)))


def test_big_endian_files_stay_big_endian(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(VOXELS.transpose(2, 1, 0), OBLIQUE, header), tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert volume.voxels.dtype.isnative
    data = gzip.decompress(volume.form.encode(np.full(VOXELS.shape, 0x0102, np.uint16)))
    assert data[:4] == struct.pack(">i", 348)
    assert data[352:354] == b"\x01\x02"


def test_slope_and_intercept_are_kept_apart_from_the_voxels(tmp_path: Path, save_nifti: Save) -> None:
    data = bytearray(save_nifti("a.nii", VOXELS).read_bytes())
    data[112:120] = struct.pack("<ff", 2.5, -1024.0)
    (tmp_path / "b.nii").write_bytes(data)
    volume = read_nifti(tmp_path / "b.nii")
    assert volume.rescale == (2.5, -1024.0)
    np.testing.assert_array_equal(volume.voxels, VOXELS)


def test_a_fourth_axis_of_one_is_left_out_and_a_longer_one_refused(save_nifti: Save) -> None:
    assert read_nifti(save_nifti("a.nii", VOXELS[None])).shape == VOXELS.shape
    with pytest.raises(VolumeError, match="three axes"):
        read_nifti(save_nifti("b.nii", np.stack([VOXELS, VOXELS])))
    with pytest.raises(VolumeError, match="three axes"):
        read_nifti(save_nifti("c.nii", VOXELS[0]))


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_that_are_no_grey_levels_are_refused(save_nifti: Save, dtype: Any) -> None:  # noqa: ANN401
    with pytest.raises(VolumeError, match="integers or floats"):
        read_nifti(save_nifti("a.nii", np.zeros((2, 3, 4), dtype)))


@pytest.mark.parametrize("keep", [0, 3, 200, 351, 353, 500])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_truncated_file_is_refused(save_nifti: Save, tmp_path: Path, name: str, keep: int) -> None:
    data = save_nifti("whole.nii", VOXELS).read_bytes()[:keep]
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(VolumeError, match=name):
        read_nifti(tmp_path / name)


def test_gzip_that_is_cut_or_altered_is_refused(save_nifti: Save, tmp_path: Path) -> None:
    whole = save_nifti("a.nii.gz", VOXELS).read_bytes()
    for damaged in (whole[:-20], whole[:-8] + b"\0\0\0\0" + whole[-4:]):  # the second: a checksum of something else
        (tmp_path / "b.nii.gz").write_bytes(damaged)
        with pytest.raises(VolumeError, match="damaged"):
            read_nifti(tmp_path / "b.nii.gz")


def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory(save_nifti: Save, tmp_path: Path) -> None:
    data = bytearray(save_nifti("a.nii", VOXELS).read_bytes())
    struct.pack_into("<hhh", data, 42, 1000, 1000, 900)
    (tmp_path / "b.nii").write_bytes(data)
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(bytes(data)))
    tracemalloc.start()
    for name in ("b.nii", "c.nii.gz"):
        with pytest.raises(VolumeError, match="as the header promises"):
            read_nifti(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert MAX_RATIO == 1032


def test_a_bomb_behind_the_voxels_is_not_unpacked(save_nifti: Save, tmp_path: Path) -> None:
    data = save_nifti("a.nii", VOXELS).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data + b"\0" * 2**26))
    tracemalloc.start()
    with pytest.raises(VolumeError, match="many more"):
        read_nifti(tmp_path / "b.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_header_of_a_pair_or_of_something_else_is_refused(save_nifti: Save, tmp_path: Path) -> None:
    data = bytearray(save_nifti("a.nii", VOXELS).read_bytes())
    data[344:348] = b"ni1\0"
    (tmp_path / "b.nii").write_bytes(data)
    with pytest.raises(VolumeError, match="one NIfTI file"):
        read_nifti(tmp_path / "b.nii")
    (tmp_path / "c.nii").write_bytes(b"\x89PNG" + bytes(400))
    with pytest.raises(VolumeError, match="another beginning"):
        read_nifti(tmp_path / "c.nii")
    with pytest.raises(StorageError):
        read_nifti(tmp_path / "missing.nii")


def test_mutated_headers_raise_our_errors_only_and_log_nothing(
    save_nifti: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, random = save_nifti("a.nii", VOXELS).read_bytes(), np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for place in random.integers(0, 352, random.integers(1, 9)):
            data[place] = random.integers(256)
        (tmp_path / "b.nii").write_bytes(data)
        try:
            found = read_nifti(tmp_path / "b.nii")
            found.form.encode(np.zeros(found.shape, np.uint8))
        except MedSAMEdgeError:
            refused += 1
    assert refused > 20
    assert not caplog.records
