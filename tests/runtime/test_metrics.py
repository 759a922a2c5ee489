import math
from collections.abc import Callable
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medsam_edge.runtime.errors import MeasurementError, UsageError
from medsam_edge.runtime.metrics import Summary, dice, summarise, surface_dice
from scipy.ndimage import distance_transform_edt

Mask = npt.NDArray[np.bool_]


def mask(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows], bool)


def blob(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Mask:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(rows - centre[0], columns - centre[1]) < radius)


def oracle_contour(of: Mask, spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """The contour length at each corner, from the pixels around it one corner at a time."""
    padded, diagonal = np.pad(of, 1), math.hypot(*spacing)
    lengths = np.zeros((of.shape[0] + 1, of.shape[1] + 1))
    for row, column in np.ndindex(lengths.shape):
        quad = padded[row : row + 2, column : column + 2]
        if quad.sum() in (1, 3):
            lengths[row, column] = diagonal / 2
        elif quad.sum() == 2 and quad[0, 0] == quad[1, 1]:
            lengths[row, column] = diagonal
        elif quad.sum() == 2:
            lengths[row, column] = spacing[1] if quad[0, 0] == quad[0, 1] else spacing[0]
    return lengths


def oracle(a: Mask, b: Mask, tolerance: float, spacing: tuple[float, float]) -> float:
    """NSD through the Euclidean distance transform of both contours."""
    contours = [oracle_contour(each, spacing) for each in (a, b)]
    within = 0.0
    for own, other in (contours, contours[::-1]):
        distance = distance_transform_edt(other == 0, sampling=spacing)
        within += own[distance <= tolerance * (1 + 1e-9)].sum()
    return float(within / (contours[0].sum() + contours[1].sum()))


def random_mask(seed: int, shape: tuple[int, int]) -> Mask:
    random = np.random.default_rng(seed)
    made = np.zeros(shape, bool)
    for _ in range(random.integers(1, 5)):
        made |= blob(shape, tuple(random.uniform(-3, 30, 2)), random.uniform(1, 9))
    return np.asarray(made ^ (random.random(shape) < random.choice([0, 0.01, 0.3])))


@pytest.mark.parametrize("tolerance", [0.0, 0.7, 1.0, 2.0, 3.6, 50.0])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (3.0, 0.7)])
def test_nsd_agrees_with_a_distance_transform(tolerance: float, spacing: tuple[float, float]) -> None:
    for seed in range(6):
        a, b = random_mask(seed, (26, 31)), random_mask(seed + 100, (26, 31))
        expected = oracle(a, b, tolerance, spacing)
        assert surface_dice(a, b, tolerance, spacing) == pytest.approx(expected, abs=1e-12), seed


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(0, 6), st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)))
def test_nsd_is_symmetric_bounded_and_grows_with_the_tolerance(
    seed: int, tolerance: float, spacing: tuple[float, float]
) -> None:
    a, b = random_mask(seed, (12, 10)), random_mask(seed + 1, (12, 10))
    value = surface_dice(a, b, tolerance, spacing)
    assert value == pytest.approx(surface_dice(b, a, tolerance, spacing))
    assert 0 <= value <= surface_dice(a, b, tolerance + 0.5, spacing) <= 1


def test_one_pixel_against_its_neighbour_at_no_distance_shares_two_of_four_corners() -> None:
    a, b = mask("#.", ".."), mask(".#", "..")
    assert surface_dice(a, b, 0) == 0.5


def test_a_contour_is_weighted_by_its_length_not_by_its_corners() -> None:
    # a: a pixel, four corners of 0.7071. b: three in a row, four corners of 0.7071 and four sides of 1.
    a, b = mask("#..", "..."), mask("###", "...")
    corner = math.sqrt(0.5)
    shared = 4 * corner + (2 * corner + 2)  # all of a; of b the two left corners and two sides
    assert surface_dice(a, b, 0) == pytest.approx(shared / (8 * corner + 4))


def test_the_spacing_weighs_rows_and_columns() -> None:
    a, b = mask("#..", "..."), mask("###", "...")
    corner, side = math.hypot(3, 4) / 2, 4.0
    shared = 4 * corner + (2 * corner + 2 * side)
    assert surface_dice(a, b, 0, (3, 4)) == pytest.approx(shared / (8 * corner + 4 * side))


def test_pixels_that_touch_in_one_point_count_the_whole_diagonal_there() -> None:
    a, b = mask("#.", ".#"), mask("#.", "..")
    corner = math.sqrt(0.5)
    shared = 3 * corner + 2 * corner + 4 * corner  # a's own three and the shared middle; all of b
    assert surface_dice(a, b, 0) == pytest.approx(shared / (8 * corner + 4 * corner))


def test_the_tolerance_is_inclusive_and_euclidean() -> None:
    a, b = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    a[5, 5], b[8, 9] = True, True  # corners 5 apart at 3, 4; the nearest pair is 3.6 apart
    assert surface_dice(a, b, 3.6) == 0.0 < surface_dice(a, b, 3.61)
    assert surface_dice(a, b, 5) == 1.0


def test_rounding_does_not_decide_what_lies_at_the_tolerance() -> None:
    a, b = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    a[1, 1], b[4, 1] = True, True
    assert surface_dice(a, b, 0.3, (0.1, 0.1)) == 1.0


def test_a_mask_that_fills_the_image_has_its_contour_at_the_border() -> None:
    full = np.ones((6, 6), bool)
    inner = np.zeros((6, 6), bool)
    inner[1:-1, 1:-1] = True
    assert surface_dice(full, inner, 0) == 0.0
    assert surface_dice(full, inner, 1) == pytest.approx(oracle(full, inner, 1, (1, 1)))
    assert surface_dice(full, inner, 1.5) == 1.0


def test_two_empty_masks_agree_and_one_does_not() -> None:
    empty, some = np.zeros((5, 5), bool), np.eye(5, dtype=bool)
    for metric in (dice, surface_dice):
        assert metric(empty, empty) == 1.0
        assert metric(empty, some) == metric(some, empty) == 0.0
        assert metric(some, some) == 1.0


def test_dice_is_twice_the_overlap_over_both_areas() -> None:
    assert dice(mask("##.", "..."), mask(".##", "..#")) == 2 * 1 / 5


def test_an_endless_tolerance_forgives_everything() -> None:
    a, b = blob((40, 60), (5, 5), 3), blob((40, 60), (33, 52), 4)
    assert surface_dice(a, b, math.inf) == 1.0
    assert surface_dice(a, b, 30) < 1.0


@pytest.mark.parametrize("metric", [dice, surface_dice])
@pytest.mark.parametrize(("shape", "dtype"), [((4, 5), bool), ((5, 5), np.uint8), ((1, 5, 5), bool)])
def test_masks_that_cannot_be_compared_are_refused(
    metric: Callable[[Mask, Mask], float], shape: tuple[int, ...], dtype: type
) -> None:
    with pytest.raises(UsageError, match="two bool masks of one shape"):
        metric(np.zeros((5, 5), bool), np.zeros(shape, dtype))


@pytest.mark.parametrize(("tolerance", "spacing"), [(-1, (1, 1)), (math.nan, (1, 1)), (1, (0, 1)), (1, (1, math.nan))])
def test_a_senseless_tolerance_or_spacing_is_refused(tolerance: float, spacing: tuple[float, float]) -> None:
    full = np.ones((3, 3), bool)
    with pytest.raises(UsageError, match="spacing > 0"):
        surface_dice(full, full, tolerance, spacing)


def test_small_objects_in_a_large_image_are_fast() -> None:
    a, b = blob((512, 512), (300, 200), 12), blob((512, 512), (301, 202), 12)
    times = []
    for _ in range(20):
        start = perf_counter()
        surface_dice(a, b)
        times.append(perf_counter() - start)
    assert min(times) < 0.005, "an object of 24 pixels should not cost as much as the whole image"


def test_a_summary_has_the_mean_the_fifth_percentile_and_the_worst() -> None:
    summary = summarise(np.arange(101) / 100)
    assert (summary.n, summary.worst) == (101, 0.0)
    assert (summary.mean, summary.p05) == pytest.approx((0.5, 0.05))
    assert summarise([0.25]) == Summary(n=1, mean=0.25, p05=0.25, worst=0.25)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_a_summary_of_nothing_or_of_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(MeasurementError, match="one finite value or more"):
        summarise(values)
