import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from medsam_edge.runtime.errors import UsageError, VolumeError
from medsam_edge.runtime.volumes.levels import Slices, choose_window, slices_of
from medsam_edge.runtime.volumes.planes import Slicing
from medsam_edge.runtime.volumes.volume import Volume
from medsam_edge.runtime.windows import apply_window, parse_window

STORED = Slicing("acquisition")
Make = Callable[..., Volume]
HU = np.random.default_rng(2).integers(-1200, 1500, (4, 30, 20)).astype(np.int16)


def all_of(slices: Slices) -> np.ndarray:
    return np.stack([slices.image(index) for index in range(len(slices))])


@pytest.mark.parametrize("name", ["abdomen", "lung", "mr", "300,2000"])
def test_a_volume_is_windowed_as_one_large_image_would_be(volume_of: Make, name: str) -> None:
    window = parse_window(name)
    expected, applied = apply_window(window, HU.reshape(-1, HU.shape[2]))
    slices = slices_of(volume_of(HU), STORED, window)
    np.testing.assert_array_equal(all_of(slices), expected[:, :, 0].reshape(HU.shape))
    assert slices.applied == applied


@pytest.mark.parametrize("slope", [2.0, -0.5])
@pytest.mark.parametrize("name", ["lung", "mr"])
def test_slope_and_intercept_come_before_the_window(volume_of: Make, slope: float, name: str) -> None:
    expected, _ = apply_window(parse_window(name), (HU * slope + 7).reshape(-1, HU.shape[2]))
    slices = slices_of(volume_of(HU, rescale=(slope, 7.0)), STORED, parse_window(name))
    np.testing.assert_array_equal(all_of(slices), expected[:, :, 0].reshape(HU.shape))


def test_each_slice_may_have_its_own_window(volume_of: Make) -> None:
    slices = slices_of(volume_of(HU), STORED, parse_window("mr"), "slice")
    expected = np.stack([apply_window(parse_window("mr"), plane)[0][:, :, 0] for plane in HU])
    np.testing.assert_array_equal(all_of(slices), expected)
    dark = HU.copy()
    dark[2] = -5
    assert not slices_of(volume_of(dark), STORED, parse_window("mr"), "slice").image(2).any()
    with pytest.raises(UsageError, match="volume or slice"):
        slices_of(volume_of(HU), STORED, None, "image")


def test_eight_bits_are_taken_as_they_are(volume_of: Make) -> None:
    volume = volume_of(HU.astype(np.uint8), modality="CT")
    assert choose_window(volume, None) is None
    np.testing.assert_array_equal(all_of(slices_of(volume, STORED)), HU.astype(np.uint8))
    with pytest.raises(UsageError, match="leave out --window"):
        choose_window(volume, parse_window("lung"))
    assert choose_window(volume_of(HU.astype(np.uint8), modality="CT", rescale=(1.0, -100.0)), None) is not None


@pytest.mark.parametrize(("modality", "name"), [("CT", "abdomen"), ("MR", "mr"), ("PET", "mr")])
def test_the_modality_has_a_window(volume_of: Make, modality: str, name: str) -> None:
    assert choose_window(volume_of(HU, modality=modality), None) == parse_window(name)
    assert choose_window(volume_of(HU, modality=modality), parse_window("lung")) == parse_window("lung")


def test_without_modality_and_window_the_volume_is_refused(volume_of: Make) -> None:
    with pytest.raises(VolumeError, match="--window"):
        choose_window(volume_of(HU), None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("scope", ["volume", "slice"])
def test_what_is_no_number_is_refused_before_anything_is_drawn(volume_of: Make, value: float, scope: str) -> None:
    voxels = HU.astype(np.float32)
    voxels[3, 1, 1] = value
    with pytest.raises(VolumeError, match="1 NaN or infinite ones in slice 3"):
        slices_of(volume_of(voxels), STORED, parse_window("lung"), scope)


def test_grey_levels_that_overflow_are_refused(volume_of: Make) -> None:
    with pytest.raises(VolumeError, match="double"):
        slices_of(volume_of(HU.astype(np.float64) * 1e300, rescale=(1e10, 0.0)), STORED, parse_window("lung"))


def test_a_window_without_contrast_is_refused(volume_of: Make) -> None:
    with pytest.raises(VolumeError, match="one grey level"):
        slices_of(volume_of(HU), STORED, parse_window("9000,10"))
    with pytest.raises(VolumeError, match="above 0"):
        slices_of(volume_of(-np.abs(HU)), STORED, parse_window("mr"))


def test_percentiles_take_no_larger_type_than_the_volume_has(volume_of: Make) -> None:
    voxels = np.random.default_rng(0).integers(-50, 900, (40, 256, 256)).astype(np.int16)
    tracemalloc.start()
    slices_of(volume_of(voxels), STORED, parse_window("mr"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * voxels.nbytes
