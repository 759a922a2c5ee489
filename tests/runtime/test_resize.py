import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medsam_edge.runtime.errors import ImageError, UsageError
from medsam_edge.runtime.resize import bilinear, bilinear_above, resize_cubic_antialias
from medsam_edge.runtime.types import AnyArray, Image

SIZES = [  # height, width, S: up, down, both, odd, identity on one axis or both, and axes of 1 to 3 samples
    (97, 131, 256),
    (300, 200, 256),
    (256, 190, 256),
    (128, 128, 128),
    (257, 403, 128),
    (300, 2, 16),
    (1, 5, 16),
    (2, 3, 7),
    (40, 30, 1),
]
LARGE_SIZES = [(512, 640, 1024), (1500, 2001, 1024), (3000, 2500, 1024)]


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def waves(height: int, width: int) -> Image:
    """Smooth, with a black plateau as a windowed CT has it, and three different channels.

    No plateau at another level: there the source's own last bit decides, see the tests of flat regions.
    """
    y, x, channel = np.mgrid[:height, :width, :3]
    field = np.sin(y / 5.3 + channel) + np.cos(x / 7.1 - channel) + 0.2 * np.sin(x * y / 91)
    image: Image = np.clip(40.3 + 95 * field, 0, 255).astype(np.uint8)
    return image


def oracle(image: Image, size: int) -> Image:
    """What MedSAM_Inference.py does."""
    transform = pytest.importorskip("skimage.transform")
    resized = transform.resize(image, (size, size), order=3, preserve_range=True, anti_aliasing=True)
    truncated: Image = resized.astype(np.uint8)
    return truncated


def assert_same(found: Image, expected: Image, share: float = 0.999) -> None:
    difference = np.abs(found.astype(int) - expected)
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert difference.max() <= 1
    # In the smallest results one pixel is more than a thousandth of them.
    assert np.count_nonzero(difference) <= max(1, (1 - share) * difference.size)


@pytest.mark.parametrize("picture", [noise, waves])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_the_source_preprocessing(size: tuple[int, int, int], picture: Callable[..., Image]) -> None:
    height, width, side = size
    image = picture(height, width)
    assert_same(resize_cubic_antialias(image, side), oracle(image, side))


@pytest.mark.slow
@pytest.mark.parametrize("picture", [noise, waves])
@pytest.mark.parametrize("size", LARGE_SIZES, ids=str)
def test_equals_the_source_preprocessing_at_full_size(
    size: tuple[int, int, int], picture: Callable[..., Image]
) -> None:
    height, width, side = size
    image = picture(height, width)
    assert_same(resize_cubic_antialias(image, side), oracle(image, side))


def test_float64_is_the_reference_precision() -> None:
    image = noise(97, 131)
    assert_same(resize_cubic_antialias(image, 128, dtype=np.float64), oracle(image, 128), share=1)


def test_rgb_with_equal_channels_equals_the_source() -> None:
    image = np.repeat(noise(97, 131)[:, :, :1], 3, axis=2)
    assert_same(resize_cubic_antialias(image, 200), oracle(image, 200))


@pytest.mark.parametrize("channel", range(3))
def test_one_coloured_pixel_is_not_taken_for_grey(channel: int) -> None:
    image = np.repeat(noise(97, 131)[:, :, :1], 3, axis=2)
    image[50, 60] = np.where(np.arange(3) == channel, 255, 0)
    assert_same(resize_cubic_antialias(image, 200), oracle(image, 200))


@pytest.mark.parametrize("height", [11, 50, 97, 355])
@pytest.mark.parametrize("level", [0, 1, 7, 127, 254, 255])
def test_a_flat_image_keeps_its_level(level: int, height: int) -> None:
    image = np.full((height, 40, 3), level, np.uint8)
    resized = resize_cubic_antialias(image, 64)
    assert (resized == level).all()
    assert_same(resized, oracle(image, 64), share=1)


@pytest.mark.parametrize("level", [1, 7, 200, 254])
def test_a_flat_region_keeps_its_level(level: int) -> None:
    """The source's own rounding puts some of these pixels a level lower; ours must not add to that."""
    image = noise(150, 170)
    image[30:-30, 30:-30] = level
    resized = resize_cubic_antialias(image, 200)
    assert (resized[70:-70, 70:-70] == level).all()
    difference = oracle(image, 200).astype(int) - resized
    assert np.isin(difference, (-1, 0)).all()


def test_overshoot_stays_inside_the_range_of_the_image() -> None:
    image = np.full((40, 40, 3), 20, np.uint8)
    image[10:30, 10:30] = 230
    resized = resize_cubic_antialias(image, 256)
    assert (resized.min(), resized.max()) == (20, 230)


def test_the_right_size_is_a_copy() -> None:
    image = noise(32, 32)
    resized = resize_cubic_antialias(image, 32)
    assert np.array_equal(resized, image)
    assert not np.shares_memory(resized, image)


def test_strided_images_and_read_only_images_are_fine() -> None:
    image = noise(60, 80)
    expected = resize_cubic_antialias(image[::-1, ::2].copy(), 48)
    image.flags.writeable = False
    assert np.array_equal(resize_cubic_antialias(image[::-1, ::2], 48), expected)


def test_planes_come_out_contiguous() -> None:
    assert resize_cubic_antialias(noise(30, 50), 16).transpose(2, 0, 1).flags.c_contiguous


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda image: f"{image.dtype}{image.shape}",
)
def test_other_images_are_refused(image: AnyArray) -> None:
    with pytest.raises(ImageError, match=r"uint8 image \(H, W, 3\)"):
        resize_cubic_antialias(image, 16)


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 pixel"):
        resize_cubic_antialias(noise(4, 4), 0)


def torch_bilinear(maps: AnyArray, height: int, width: int) -> AnyArray:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(maps)[:, None], size=(height, width), mode="bilinear", align_corners=False
        )
    found: AnyArray = resized[:, 0].numpy()
    return found


@pytest.mark.parametrize(
    "target", [(97, 131), (64, 64), (333, 20), (7, 5), (1, 1), (1000, 701)], ids=lambda t: f"{t[0]}x{t[1]}"
)
@pytest.mark.parametrize("source", [(64, 64), (5, 9), (1, 3)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_bilinear_equals_torch(source: tuple[int, int], target: tuple[int, int]) -> None:
    maps = np.random.default_rng(1).random((2, *source), np.float32)
    found = bilinear(maps, *target)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch_bilinear(maps, *target), atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 0.9, 0.999, 2.0]),
)
def test_above_is_bilinear_and_then_the_threshold(
    h: int, w: int, height: int, width: int, seed: int, threshold: float
) -> None:
    maps = np.random.default_rng(seed).random((2, h, w), np.float32)
    expected = bilinear(maps, height, width) > threshold
    assert np.array_equal(bilinear_above(maps, height, width, threshold), expected)


def test_above_finds_a_structure_of_one_pixel_wherever_it_is() -> None:
    for row, column in [(0, 0), (0, 31), (31, 0), (31, 31), (15, 16), (8, 8)]:
        maps = np.zeros((1, 32, 32), np.float32)
        maps[0, row, column] = 1
        expected = torch_bilinear(maps, 600, 400) > 0.5
        assert expected.any()
        assert np.array_equal(bilinear_above(maps, 600, 400, 0.5), expected)


def test_no_maps_give_no_masks() -> None:
    nothing = np.zeros((0, 8, 8), np.float32)
    assert bilinear(nothing, 20, 30).shape == (0, 20, 30)
    assert bilinear_above(nothing, 20, 30, 0.5).shape == (0, 20, 30)


@pytest.mark.parametrize("resize", [bilinear, lambda maps, h, w: bilinear_above(maps, h, w, 0.5)])
def test_bilinear_refuses_other_shapes(resize: Callable[..., AnyArray]) -> None:
    for maps, height, width in [((8, 8), 4, 4), ((1, 0, 8), 4, 4), ((1, 8, 8), 0, 4)]:
        with pytest.raises(UsageError, match=r"maps \(N, h, w\)"):
            resize(np.zeros(maps, np.float32), height, width)
