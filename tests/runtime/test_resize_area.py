"""OpenCV itself is the oracle."""

import numpy as np
import pytest
from medsam_edge.runtime.resize_area import resize_area

SIZES = [
    ((100, 80), (50, 40)), ((99, 81), (33, 27)), ((100, 80), (37, 29)), ((512, 384), (256, 192)),
    ((300, 211), (256, 180)), ((768, 1024), (192, 256)), ((64, 80), (205, 256)), ((255, 200), (256, 201)),
    ((31, 17), (256, 140)), ((260, 10), (256, 10)), ((3, 500), (2, 256)), ((257, 256), (256, 256)),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), SIZES, ids=str)
@pytest.mark.parametrize("smooth", [False, True], ids=["noise", "smooth"])
def test_it_is_opencvs(source: tuple[int, int], target: tuple[int, int], smooth: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), np.uint8)
    image = cv2.GaussianBlur(image, (9, 9), 3) if smooth else image
    expected = cv2.resize(image, target[::-1], interpolation=cv2.INTER_AREA)
    found = resize_area(image, *target)
    assert (found.dtype, found.shape) == (np.uint8, expected.shape)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 1e-4


def test_the_same_size_is_a_copy() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    found = resize_area(image, 9, 7)
    np.testing.assert_array_equal(found, image)
    assert not np.shares_memory(found, image)
