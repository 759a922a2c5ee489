import numpy as np
import pytest
from medsam_edge.calibration.int8 import int8_weight, scale_as
from medsam_edge.runtime.errors import UsageError


def test_each_channel_uses_the_whole_range_and_no_more() -> None:
    weight = np.array([[1.27, -0.5], [-0.634, 5.1], [0.0, -10.0]], np.float32)
    values, scale = int8_weight(weight, axis=1)
    assert values.dtype == np.int8
    assert values.tolist() == [[127, -6], [-63, 65], [0, -127]]
    np.testing.assert_allclose(scale, [0.01, 10 / 127], rtol=1e-6)
    assert scale.dtype == np.float32


def test_channels_may_stand_along_any_axis() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    values, scale = int8_weight(weight, axis=0)
    moved = int8_weight(np.moveaxis(weight, 0, 2), axis=2)
    assert scale.shape == (4,)
    assert np.array_equal(moved[0], np.moveaxis(values, 0, 2))
    assert np.array_equal(moved[1], scale)


def test_a_channel_of_zeros_stays_zeros() -> None:
    values, scale = int8_weight(np.array([[0.0, 3.0]], np.float32), axis=1)
    assert (values.tolist(), scale[0]) == ([[0, 127]], 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.02, 1.0])
def test_no_weight_is_cut_off_however_coarse_the_type_of_the_scale(dtype: type, size: float) -> None:
    weight = (np.random.default_rng(1).normal(size=(64, 256)) * size).astype(dtype)
    values, scale = int8_weight(weight, axis=1)
    assert values.min() >= -127
    assert (scale > 0).all()
    back = values * scale.astype(np.float64)
    assert (np.abs(back - weight) <= scale.astype(np.float64) / 2 * (1 + 1e-9)).all()


@pytest.mark.parametrize(("dtype", "scale"), [(np.float16, 1e-9), (np.float16, 1e6), (np.float32, 0), (np.float32, -1)])
def test_a_scale_that_the_type_cannot_hold_names_the_layer(dtype: type, scale: float) -> None:
    with pytest.raises(UsageError, match=r"neck\.0"):
        scale_as(dtype, scale, "neck.0")


def test_a_scale_is_a_scalar_of_the_graphs_type() -> None:
    found = scale_as(np.float16, 0.1, "neck.0")
    assert (found.shape, found.dtype, float(found)) == ((), np.float16, float(np.float16(0.1)))
    with pytest.raises(UsageError):
        scale_as(np.float32, float("nan"), "neck.0")
