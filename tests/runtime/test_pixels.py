from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.errors import ImageError
from medsam_edge.runtime.pixels import as_image

GRAY = (np.arange(40 * 30).reshape(40, 30) % 251).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)

REFUSED_ARRAYS: dict[str, tuple[Callable[[], object], str]] = {
    "list": (lambda: [[1, 2], [3, 4]], "list"),
    "pillow image": (lambda: PIL.Image.new("P", (3, 3)), "Image"),
    "none": (lambda: None, "NoneType"),
    "float": (lambda: GRAY / 255, "float64"),
    "NaN": (lambda: np.array([[np.nan, np.inf, 1]]), "2 NaN or infinite"),
    "uint16": (lambda: RGB.astype(np.uint16), "uint16"),
    "int64": (lambda: RGB.astype(np.int64), "int64"),
    "bool": (lambda: GRAY > 1, "bool"),
    "complex": (lambda: GRAY * 1j, "complex"),
    "objects": (lambda: np.array([[None]]), "object"),
    "volume": (lambda: np.zeros((9, 8, 7), np.uint8), "a volume of shape (9, 8, 7)"),
    "planes": (lambda: np.zeros((3, 8, 7), np.uint8), "three planes"),
    "alpha": (lambda: np.zeros((9, 8, 4), np.uint8), "4 channels"),
    "empty": (lambda: np.zeros((0, 0, 3), np.uint8), "0 x 0"),
    "huge": (lambda: np.broadcast_to(np.uint8(0), (30_000, 30_000)), "30000 x 30000"),
}


@pytest.mark.parametrize("name", REFUSED_ARRAYS)
def test_an_array_that_is_no_image_is_refused(name: str) -> None:
    make, found = REFUSED_ARRAYS[name]
    with pytest.raises(ImageError) as caught:
        as_image(make())
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_good_array_is_not_copied_and_gray_is_repeated() -> None:
    assert as_image(RGB) is RGB
    np.testing.assert_array_equal(as_image(GRAY)[..., 2], GRAY)
    assert as_image(RGB[:, ::-1]).flags.c_contiguous
