import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.boxes import boxes_from_labels
from medsam_edge.runtime.errors import ImageError, StorageError
from medsam_edge.runtime.labels import read_labels
from medsam_edge.runtime.types import AnyArray

LABELS = np.zeros((20, 30), np.uint16)
LABELS[2:6, 3:9], LABELS[10:15, 20:28] = 1, 300
SMALL = (LABELS > 255).astype(np.uint8) * 2 + (LABELS == 1)


def save(path: Path, array: AnyArray, **options: object) -> Path:
    match path.suffix:
        case ".npy":
            np.save(path, array, allow_pickle=True)
        case ".npz":
            np.savez_compressed(path, **options, gts=array)
        case _:
            PIL.Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("labels", [LABELS, SMALL], ids=["uint16", "uint8"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.npy", "a.npz"])
def test_a_map_is_read_as_it_was_saved(tmp_path: Path, name: str, labels: AnyArray) -> None:
    found = read_labels(save(tmp_path / name, labels))
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, labels)


def test_the_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", LABELS).rename(tmp_path / "A.NPY")
    np.testing.assert_array_equal(read_labels(tmp_path / "A.NPY"), LABELS)


@pytest.mark.parametrize("name", ["mask.npy", "mask.npz", "mask.png", "mask.tif"])
def test_a_mask_of_true_and_false_is_one_object(tmp_path: Path, name: str) -> None:
    labels = read_labels(save(tmp_path / name, LABELS > 1))
    boxes, ids = boxes_from_labels(labels)
    np.testing.assert_array_equal(boxes, [[20, 10, 27, 14]])
    assert len(ids) == 1


def test_results_of_segment_can_be_given_back(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a_segs.npz", segs=LABELS)
    np.testing.assert_array_equal(read_labels(tmp_path / "a_segs.npz"), LABELS)


def test_the_reference_comes_before_the_result(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", segs=LABELS, gts=SMALL)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.npz"), SMALL)


def test_a_palette_image_means_its_indices(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(SMALL)
    picture.putpalette([200, 10, 10, 0, 0, 0, 7, 7, 7])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), SMALL)


def test_sixteen_bits_in_either_byte_order_are_read(tmp_path: Path) -> None:
    PIL.Image.fromarray(LABELS.astype(">u2")).save(tmp_path / "a.tif")
    with PIL.Image.open(tmp_path / "a.tif") as picture:
        assert picture.mode == "I;16B"
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), LABELS)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (LABELS.astype(np.float32), r"float32 of shape \(20, 30\)"),
        (np.zeros((3, 20, 30), np.uint8), r"uint8 of shape \(3, 20, 30\)"),
        (np.array([["a"]], object), "pickled Python objects"),
        (np.zeros((0, 5), np.uint8), "0 x 5"),
    ],
)
def test_an_array_that_is_no_map_is_refused(tmp_path: Path, array: AnyArray, found: str) -> None:
    with pytest.raises(ImageError, match=found) as caught:
        read_labels(save(tmp_path / "a.npy", array))
    assert str(tmp_path / "a.npy") in str(caught.value)


def test_a_map_too_large_for_the_device_is_refused_by_its_header(tmp_path: Path) -> None:
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (30_000, 30_000)}
    np.lib.format.write_array_header_1_0(stream, header)
    (tmp_path / "a.npy").write_bytes(stream.getvalue())
    PIL.Image.new("1", (17_000, 8)).save(tmp_path / "a.png")
    for name in ("a.npy", "a.png"):
        with pytest.raises(ImageError, match="at most"):
            read_labels(tmp_path / name)


def test_colours_and_grey_levels_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="one channel; found mode RGB"):
        read_labels(save(tmp_path / "a.png", np.stack([SMALL] * 3, axis=2)))
    with pytest.raises(ImageError, match="mode F"):
        read_labels(save(tmp_path / "a.tif", LABELS.astype(np.float32)))


def test_a_jpeg_is_refused_because_it_blurs_labels(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="an intact PNG or TIFF"):
        read_labels(save(tmp_path / "a.jpg", SMALL))


def test_no_page_is_picked_from_several(tmp_path: Path) -> None:
    pages = [PIL.Image.fromarray(SMALL)] * 3
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="one image; found 3 pages"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.npz"])
@pytest.mark.parametrize("kept", [0, 3, 60])
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, name: str, kept: int) -> None:
    path = save(tmp_path / name, LABELS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ImageError, match=name):
        read_labels(path)


def test_an_archive_without_labels_names_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", imgs=SMALL)
    with pytest.raises(ImageError, match="an array `gts`; found `imgs`"):
        read_labels(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["none.png", "."])
def test_what_is_no_file_is_a_storage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError):
        read_labels(tmp_path / name)
