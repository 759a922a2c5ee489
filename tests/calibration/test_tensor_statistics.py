"""The statistics are those of all values at once, however these come in pieces."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medsam_edge.calibration.tensor_statistics import (
    BINS,
    LEAST_EXPONENT,
    Accumulator,
    Statistics,
    from_arrays,
    merged,
    to_arrays,
)
from medsam_edge.runtime.errors import ArtefactError, MeasurementError, UsageError
from medsam_edge.runtime.types import AnyArray


def statistics_of(*arrays: AnyArray, axis: int = -1) -> Statistics:
    accumulator = Accumulator("tokens", axis)
    for array in arrays:
        accumulator.update(array)
    return accumulator.result()


def equal(one: Statistics, other: Statistics) -> bool:
    pairs = zip(to_arrays({"t": one}).values(), to_arrays({"t": other}).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def images(number: int, channels: int = 24) -> list[AnyArray]:
    """Token maps whose spread differs a hundredfold, each larger than a chunk."""
    random = np.random.default_rng(5)
    scales = 10 ** random.uniform(-1, 1, number)
    return [random.standard_normal((1, 12_000, channels)).astype(np.float32) * np.float32(s) for s in scales]


def counted(values: AnyArray, exponent: int) -> AnyArray:
    """The histogram as NumPy counts it, in float64."""
    edges = np.arange(BINS + 1) * (2.0**exponent / BINS)
    return np.histogram(np.abs(values.astype(float)), edges)[0]


def test_the_statistics_are_those_of_all_values_at_once() -> None:
    arrays = images(3)
    found, whole = statistics_of(*arrays), np.concatenate(arrays, axis=1)
    assert (found.count, found.minimum, found.maximum) == (whole.size, whole.min(), whole.max())
    assert found.peak == np.abs(whole).max()
    assert np.array_equal(found.peaks, np.abs(whole).max(axis=(0, 1)))
    assert found.peaks.dtype == np.float32
    assert 2.0 ** (found.exponent - 1) <= found.peak < 2.0**found.exponent
    assert np.array_equal(found.histogram, counted(whole, found.exponent))
    assert found.width == 2.0**found.exponent / BINS
    assert found.peak / 4096 <= found.width <= found.peak / 2048


def test_neither_the_order_nor_the_pieces_matter() -> None:
    arrays = images(5)
    whole = statistics_of(*arrays)
    assert equal(statistics_of(*arrays[::-1]), whole)
    assert equal(merged(statistics_of(*arrays[:2]), statistics_of(arrays[4]), statistics_of(*arrays[2:4])), whole)
    assert equal(statistics_of(np.concatenate(arrays, axis=1)), whole)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_any_finite_values_are_counted_in_any_order(values: list[float]) -> None:
    arrays = [np.array([[value]], np.float32) for value in values]
    found = statistics_of(*arrays)
    assert found.histogram.sum() == len(values)
    assert equal(found, statistics_of(*arrays[::-1]))
    assert equal(found, merged(*map(statistics_of, arrays)))
    assert equal(found, from_arrays(to_arrays({"t": found}))["t"])


@pytest.mark.parametrize("exponent", [-60, -1, 0, 7, 100])
def test_a_power_of_two_opens_the_next_range_and_what_is_below_does_not(exponent: int) -> None:
    value = np.float32(2.0**exponent)
    below = np.nextafter(value, np.float32(0))
    for each, doubled in ((value, exponent + 1), (below, exponent)):
        found = statistics_of(np.array([[each]]))
        assert found.exponent == doubled
    assert statistics_of(np.array([[value]])).histogram[BINS // 2] == 1
    assert statistics_of(np.array([[below]])).histogram[BINS - 1] == 1


def test_a_range_grows_by_any_number_of_doublings() -> None:
    small = np.linspace(0, 1, 5000, dtype=np.float32)[None]
    for factor in (1.5, 2, 4096, 1e30):
        large = np.array([[factor]], np.float32)
        found = statistics_of(small.reshape(-1, 1), large)
        assert found.exponent == math.frexp(factor)[1]
        assert np.array_equal(found.histogram, counted(np.append(small, large), found.exponent))


def test_zeros_are_statistics_too() -> None:
    found = statistics_of(np.zeros((1, 7, 3), np.float32))
    assert (found.peak, found.exponent, found.histogram[0]) == (0.0, LEAST_EXPONENT, 21)
    assert from_arrays(to_arrays({"t": found}))["t"].count == 21


def test_zeros_do_not_coarsen_what_is_smaller_than_one() -> None:
    zeros, small = np.array([[0.0], [-0.0]], np.float32), np.array([[0.01], [0.02]], np.float32)
    found = statistics_of(zeros, small)
    assert found.exponent == -5
    assert equal(found, statistics_of(small, zeros))
    assert math.copysign(1, statistics_of(-zeros).minimum) == math.copysign(1, statistics_of(zeros).minimum) == 1


def test_the_channels_of_maps_are_their_second_axis() -> None:
    maps = np.random.default_rng(0).standard_normal((2, 5, 8, 9)).astype(np.float32)
    assert np.array_equal(statistics_of(maps, axis=1).peaks, np.abs(maps).max(axis=(0, 2, 3)))
    assert np.array_equal(statistics_of(maps).peaks, np.abs(maps).max(axis=(0, 1, 2)))
    assert np.array_equal(statistics_of(maps, axis=1).histogram, statistics_of(maps).histogram)


def test_float16_counts_as_the_float32_that_it_is() -> None:
    values = np.random.default_rng(0).standard_normal((1, 50, 4)).astype(np.float16)
    assert equal(statistics_of(values), statistics_of(values.astype(np.float32)))


def test_what_is_given_out_does_not_change_later() -> None:
    accumulator = Accumulator("tokens")
    accumulator.update(np.ones((1, 4, 2), np.float32))
    early = accumulator.result()
    accumulator.update(np.full((1, 4, 2), 9, np.float32))
    assert (early.count, early.maximum, early.histogram.sum(), early.peaks.max()) == (8, 1.0, 8, 1.0)
    with pytest.raises(ValueError, match="read-only"):
        early.histogram[0] = 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 287_999])
def test_values_that_are_not_finite_are_refused_by_the_name_of_their_tensor(value: float, place: int) -> None:
    array = images(1)[0]
    array.flat[place] = value
    with pytest.raises(MeasurementError, match=r"finite values in blocks\.3/qkv; found NaN or infinity"):
        Accumulator("blocks.3/qkv").update(array)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 4, 2), np.int8), "int8 in tokens"),
        (np.zeros((1, 4, 2), np.float64), "float64 in tokens"),
        (np.zeros((1, 0, 2), np.float32), r"\(1, 0, 2\) of tokens"),
        (np.float32(1), r"the shape \(\) of tokens"),
    ],
)
def test_what_no_statistics_are_kept_of_is_refused(array: AnyArray, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Accumulator("tokens").update(np.asarray(array))


def test_channels_may_not_change() -> None:
    with pytest.raises(UsageError, match="2 channels, as before; found 3 in tokens"):
        statistics_of(np.ones((4, 2), np.float32), np.ones((4, 3), np.float32))
    with pytest.raises(UsageError, match="2 and 3 channels"):
        merged(statistics_of(np.ones((4, 2), np.float32)), statistics_of(np.ones((4, 3), np.float32)))
    with pytest.raises(UsageError, match="channel axis 1"):
        Accumulator("tokens", 1).update(np.ones(4, np.float32))


def test_no_images_give_no_statistics() -> None:
    with pytest.raises(UsageError, match="at least one image to observe tokens on"):
        Accumulator("tokens").result()


def test_statistics_go_through_an_npz_without_python_objects() -> None:
    kept = {"a.b/c": statistics_of(*images(1)), "a.b": statistics_of(np.zeros((1, 3), np.float32))}
    file = io.BytesIO()
    np.savez(file, **to_arrays(kept))  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        found = from_arrays(dict(arrays))
    assert list(found) == list(kept)
    assert all(equal(found[name], kept[name]) for name in kept)
    assert from_arrays({}) == {}


DAMAGES: dict[str, dict[str, object]] = {
    "count": {"count": np.int64(25)},
    "limits": {"limits": np.array([-3, 1], "<f4")},
    "infinite": {"limits": np.array([-np.inf, 1], "<f4")},
    "turned": {"limits": np.array([2, -1], "<f4")},
    "peaks": {"peaks": np.array([1, 3], "<f4")},
    "negative": {"peaks": np.array([-1, 2], "<f4")},
    "exponent": {"exponent": np.int64(3)},
    "bins": {"histogram": np.zeros(7, "<i8")},
    "dtype": {"histogram": np.zeros(BINS, "<i4")},
    "moved": {"histogram": np.eye(1, BINS, BINS - 1, dtype="<i8")[0] * 24},
    "missing": {"peaks": None},
    "more": {"note": np.int64(1)},
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_statistics_that_contradict_themselves_are_refused(change: dict[str, AnyArray | None]) -> None:
    arrays = to_arrays({"t": statistics_of(np.linspace(-2, 1, 24, dtype=np.float32).reshape(12, 2))})
    changed = arrays | {f"t.{field}": np.asarray(value) for field, value in change.items() if value is not None}
    kept = {name: array for name, array in changed.items() if change.get(name[2:], 0) is not None}
    with pytest.raises(ArtefactError, match="observe the tensors again"):
        from_arrays(kept)
