from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import ExitCode, ImageError, UsageError
from medsam_edge.runtime.types import AnyArray
from medsam_edge.runtime.windows import CT_WINDOWS, AppliedWindow, apply_window, parse_window

HU = np.random.default_rng(0).integers(-1024, 2000, (600, 31)).astype(np.int16)  # more rows than are scaled at once
MR = np.random.default_rng(1).gamma(2, 300, (50, 40)).astype(np.uint16)
MR[:9] = 0


def source(values: AnyArray, level: float | None = None, width: float = 0) -> AnyArray:
    """What pre_CT_MR.py states: CT with a level, MR without one."""
    low, high = (
        np.percentile(values[values > 0], [0.5, 99.5]) if level is None else (level - width / 2, level + width / 2)
    )
    clipped = np.clip(values.astype(np.float64), low, high)
    scaled = (clipped - clipped.min()) / (clipped.max() - clipped.min()) * 255.0
    if level is None:
        scaled[values == 0] = 0
    made: AnyArray = scaled.astype(np.uint8)
    return made


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("text", "level", "width"),
    [
        ("abdomen", 40, 400),
        ("lung", -600, 1500),
        ("brain", 40, 80),
        ("mediastinum", 50, 350),
        ("-100.5,77", -100.5, 77),
    ],
)
def test_ct_windows_are_the_sources(text: str, level: float, width: float, dtype: type[np.generic]) -> None:
    image, applied = apply_window(parse_window(text), HU.astype(dtype))
    assert (image.dtype, image.shape) == (np.uint8, (600, 31, 3))
    for channel in range(3):
        np.testing.assert_array_equal(image[:, :, channel], source(HU, level, width))
    assert (applied.name, applied.dtype) == (text, np.dtype(dtype).name)
    assert (applied.low, applied.high) == (level - width / 2, level + width / 2)


def test_mr_takes_percentiles_of_what_is_above_zero_and_keeps_zero_black() -> None:
    image, applied = apply_window(parse_window("mr"), MR)
    np.testing.assert_array_equal(image[:, :, 1], source(MR))
    assert not image[:9].any()
    low, high = np.percentile(MR[MR > 0], [0.5, 99.5])
    assert applied == AppliedWindow("mr", low, high, low, high, "uint16")


def test_black_and_white_are_what_the_image_reaches() -> None:
    """As in the source, an image that does not fill the window is spread all the same; the report says so."""
    image, applied = apply_window(parse_window("abdomen"), np.array([[0, 30], [60, 90]], np.int16))
    assert (applied.black, applied.white) == (0, 90)
    assert image[:, :, 0].tolist() == [[0, 85], [170, 255]]


def test_presets_need_no_numbers() -> None:
    assert set(CT_WINDOWS) == {"abdomen", "lung", "brain", "mediastinum"}
    assert parse_window("40,400").bounds == parse_window("abdomen").bounds == (-160, 240)


@pytest.mark.parametrize("text", ["", "Abdomen", "40", "40,400,1", "40,0", "40,-5", "nan,400", "40,inf", "a,b", "mr,1"])
def test_what_is_no_window_lists_the_windows(text: str) -> None:
    with pytest.raises(UsageError, match="abdomen, lung, brain, mediastinum, mr, or CENTER,WIDTH") as caught:
        parse_window(text)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("lung", [[np.nan, 1.0], [np.inf, 2.0]], "2 that are NaN or infinite"),
        ("mr", [[-np.inf, 1.0]], "1 that are NaN or infinite"),
        ("brain", [[500, 500]], "more than one grey level within the window"),
        ("brain", [[-900, -800]], "only 0 once clipped to 0 … 80, from -900 … -800"),
        ("mr", [[0, 0], [-3, 0]], "a voxel above 0"),
        ("mr", [[7, 7]], "more than one grey level"),
    ],
)
def test_images_in_which_there_is_nothing_to_see_are_refused(text: str, values: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ImageError, match=message):
        apply_window(parse_window(text), np.array(values))


def test_mr_with_one_level_above_zero_and_background_is_white_on_black() -> None:
    """The percentiles meet in one value, and everything is clipped to it: no contrast is left to spread."""
    with pytest.raises(ImageError, match="more than one grey level"):
        apply_window(parse_window("mr"), np.array([[0, 7], [7, 0]]))


def test_the_input_stays_as_it_was() -> None:
    values = HU.copy()
    apply_window(parse_window("lung"), values)
    np.testing.assert_array_equal(values, HU)
