import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.drawing import PALETTE
from medsam_edge.runtime.errors import BoxError, ImageError, MedSAMEdgeError, StorageError, UsageError
from medsam_edge.runtime.outputs import json_bytes, label_map, overlay, segs_npz_bytes, write_png


def disks(count: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Masks and boxes of `count` disjoint squares of 3 pixels, 5 apart."""
    masks, boxes = np.zeros((count, side, side), np.bool_), np.zeros((count, 4), np.float32)
    for i in range(count):
        y, x = divmod(i, side // 5 - 1)
        boxes[i] = x * 5 + 1, y * 5 + 1, x * 5 + 3, y * 5 + 3
        masks[i, y * 5 + 1 : y * 5 + 4, x * 5 + 1 : x * 5 + 4] = True
    return masks, boxes


def image(height: int, width: int, value: int = 90) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def refused(action: Callable[[], object], error: type[MedSAMEdgeError], *words: str) -> None:
    with pytest.raises(error) as caught:
        action()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_later_boxes_overwrite_earlier_ones() -> None:
    masks = np.array([[[1, 1, 0]], [[0, 1, 0]], [[0, 0, 0]]], np.bool_)
    labels = label_map(masks)
    assert labels.tolist() == [[1, 2, 0]]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize(("count", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_no_label_wraps_around(count: int, dtype: type) -> None:
    labels = label_map(np.ones((count, 1, 2), np.bool_))
    assert labels.dtype == dtype
    assert labels.tolist() == [[count, count]]


def test_more_objects_than_labels_are_refused() -> None:
    refused(lambda: label_map(np.ones((65536, 1, 1), np.bool_)), UsageError, "65536")


@pytest.mark.parametrize(
    ("hw", "count", "scale"),
    [
        ((64, 64), 1, 8),
        ((256, 200), 3, 2),
        ((511, 64), 1, 2),
        ((512, 64), 1, 1),
        ((64, 600), 16, 1),
        ((512, 64), 17, 2),
        ((1200, 64), 17, 1),
    ],
)
def test_small_and_crowded_pictures_are_enlarged(hw: tuple[int, int], count: int, scale: int) -> None:
    masks = np.zeros((count, *hw), np.bool_)
    drawn = overlay(image(*hw), masks, np.tile(np.float32([1, 1, 9, 9]), (count, 1)))
    assert drawn.shape == (hw[0] * scale, hw[1] * scale, 3)
    assert drawn.dtype == np.uint8


def test_the_contour_is_solid_the_area_translucent_and_the_rest_untouched() -> None:
    picture, mask = image(600, 600), np.zeros((1, 600, 600), np.bool_)
    mask[0, 100:200, 100:300] = True
    before = picture.copy()
    drawn = overlay(picture, mask, np.float32([[90, 90, 320, 220]]))
    np.testing.assert_array_equal(drawn[100, 150], PALETTE[0])
    np.testing.assert_array_equal(drawn[150, 299], PALETTE[0])
    assert 90 < drawn[150, 150, 0] < PALETTE[0][0]
    assert (drawn[90, 90:321] != 90).any(axis=1).all()
    assert (drawn[90:221, 320] != 90).any(axis=1).all()
    assert (drawn[95, 95] == 90).all()
    assert (drawn[400:] == 90).all()
    np.testing.assert_array_equal(picture, before)


def test_every_object_of_a_crowd_shows_and_neighbours_differ() -> None:
    masks, boxes = disks(125)
    drawn = overlay(image(64, 64), masks, boxes).reshape(64, 8, 64, 8, 3)
    outlines = {(int(x0), int(y0)): tuple(drawn[int(y0), 0, int(x0), 0].tolist()) for x0, y0, _, _ in boxes}
    assert set(outlines.values()) == {tuple(colour) for colour in PALETTE.tolist()}
    for (x, y), colour in outlines.items():
        for neighbour in ((x + 5, y), (x, y + 5), (x + 5, y + 5), (x - 5, y + 5)):
            assert outlines.get(neighbour) != colour


def test_an_object_at_the_edge_an_empty_mask_and_no_object_can_be_drawn() -> None:
    masks = np.zeros((2, 20, 30), np.bool_)
    masks[0, 19, 29] = True
    assert (overlay(image(20, 30), masks, np.float32([[28, 18, 30, 20], [0, 0, 1, 1]])) != 90).any()
    assert (overlay(image(20, 30), masks[:0], np.zeros((0, 4), np.float32)) == 90).all()


def test_what_does_not_belong_together_is_refused() -> None:
    masks, boxes = disks(2)
    refused(lambda: overlay(image(64, 63), masks, boxes), ImageError, "(2, 64, 64)")
    refused(lambda: overlay(image(64, 64), masks, boxes[:1]), BoxError, "2 boxes", "found 1")
    refused(lambda: overlay(image(64, 64).astype(float), masks, boxes), ImageError, "float64")


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7), np.uint8), ((5, 7), np.uint16), ((5, 7, 3), np.uint8)])
def test_png_keeps_every_value(shape: tuple[int, ...], dtype: type, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    for layout in (array, np.asfortranarray(array)):
        write_png(tmp_path / "a.png", layout)
        with PIL.Image.open(tmp_path / "a.png") as opened:
            np.testing.assert_array_equal(np.asarray(opened), array)


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7), float), ((5, 7, 4), "u1"), ((5, 7, 3), "u2"), ((0, 7), "u1")])
def test_what_png_would_change_is_refused(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    refused(lambda: write_png(tmp_path / "a.png", np.zeros(shape, dtype)), ImageError, str(shape))
    assert not list(tmp_path.iterdir())


def test_the_challenge_reads_its_own_key_and_every_label(tmp_path: Path) -> None:
    labels = label_map(np.ones((300, 4, 5), np.bool_))
    data = segs_npz_bytes(labels)
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        assert list(loaded) == ["segs"]
        assert loaded["segs"].dtype == np.uint16
        np.testing.assert_array_equal(loaded["segs"], 300)
    assert segs_npz_bytes(labels) == data
    refused(lambda: segs_npz_bytes(np.zeros((2, 2))), UsageError, "float64")


def test_json_takes_numpy_and_paths_but_no_nan() -> None:
    data = json_bytes({"n": np.int64(3), "x": np.float32(0.5), "a": np.arange(2), "p": Path("b"), "ä": [None, True]})
    assert json.loads(data) == {"n": 3, "x": 0.5, "a": [0, 1], "p": "b", "ä": [None, True]}
    assert data.endswith(b"}\n")
    with pytest.raises(ValueError, match="JSON compliant"):
        json_bytes({"x": float("nan")})
    with pytest.raises(TypeError, match="set cannot be written"):
        json_bytes({1, 2})


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    refused(lambda: write_png(tmp_path / "a.png", image(3, 3)), StorageError, "No space left", "free some space")
    assert not list(tmp_path.iterdir())
    refused(lambda: write_png(tmp_path / "absent" / "a.png", image(3, 3)), StorageError, "No such file", "a.png")
