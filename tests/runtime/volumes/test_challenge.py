import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import StorageError, VolumeError
from medsam_edge.runtime.volumes.challenge import holds_volume, read_challenge, read_challenge_boxes

IMGS = np.random.default_rng(1).integers(0, 256, (5, 6, 7), np.uint8)
BOXES = np.array([[1, 2, 0, 5, 4, 3], [0, 0, 1, 3, 3, 4]])


def save(path: Path, **arrays: Any) -> Path:  # noqa: ANN401
    np.savez(path, **arrays)
    return path


def test_spacing_is_x_y_z_and_no_orientation_is_made_up(tmp_path: Path) -> None:
    found = read_challenge(save(tmp_path / "a.npz", imgs=IMGS, spacing=[0.5, 0.75, 3.0]))
    np.testing.assert_array_equal(found.voxels, IMGS)
    assert (found.geometry.spacing, found.geometry.orientation) == ((0.5, 0.75, 3.0), None)


@pytest.mark.parametrize("spacing", [None, (0.5, 0.75, 3.0)])
def test_labels_are_written_with_the_challenges_keys(tmp_path: Path, spacing: tuple[float, ...] | None) -> None:
    arrays = {} if spacing is None else {"spacing": spacing}
    found = read_challenge(save(tmp_path / "a.npz", imgs=IMGS, **arrays))
    with np.load(io.BytesIO(found.form.encode(IMGS.astype(np.uint16)))) as written:
        np.testing.assert_array_equal(written["segs"], IMGS)
        assert written["segs"].dtype == np.uint16
        assert set(written) == {"segs", *arrays}
        assert spacing is None or tuple(written["spacing"]) == spacing


def test_labels_are_gts_else_segs(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", imgs=IMGS, segs=IMGS // 2)
    np.testing.assert_array_equal(read_challenge(path, labels=True).voxels, IMGS // 2)
    path = save(tmp_path / "a.npz", imgs=IMGS, segs=IMGS // 2, gts=IMGS // 3)
    np.testing.assert_array_equal(read_challenge(path, labels=True).voxels, IMGS // 3)


def test_a_volume_is_told_by_its_name_or_by_its_boxes(tmp_path: Path) -> None:
    assert holds_volume(tmp_path / "3DBox_CT_0001.npz")
    assert holds_volume(save(tmp_path / "a.npz", imgs=IMGS, boxes=BOXES))
    assert not holds_volume(save(tmp_path / "b.npz", imgs=IMGS, boxes=BOXES[:, :4]))
    assert not holds_volume(save(tmp_path / "c.npz", imgs=IMGS))
    (tmp_path / "d.npz").write_bytes(b"PK")
    assert not holds_volume(tmp_path / "d.npz")
    with pytest.raises(StorageError):
        holds_volume(tmp_path / "missing.npz")


def test_boxes_are_read_as_they_stand(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_challenge_boxes(save(tmp_path / "a.npz", imgs=IMGS, boxes=BOXES)), BOXES)
    assert read_challenge_boxes(save(tmp_path / "b.npz", imgs=IMGS)) is None


@pytest.mark.parametrize(
    "arrays",
    [
        {"gts": IMGS},
        {"imgs": IMGS.astype(np.int16)},
        {"imgs": IMGS[0]},
        {"imgs": np.zeros((0, 4, 4), np.uint8)},
        {"imgs": IMGS, "spacing": [1.0, 2.0]},
        {"imgs": IMGS, "spacing": [1.0, 2.0, np.nan]},
        {"imgs": IMGS, "spacing": [1.0, 2.0, 0.0]},
        {"imgs": np.array([{}, {}])},
    ],
)
def test_what_is_no_volume_of_the_challenge_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(VolumeError, match=r"a\.npz"):
        read_challenge(save(tmp_path / "a.npz", **arrays))


def test_an_archive_that_unpacks_to_too_much_is_refused_by_its_header(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (9000, 9000, 9000)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("imgs.npy", buffer.getvalue())
    with pytest.raises(VolumeError, match="at most"):
        read_challenge(tmp_path / "a.npz")
