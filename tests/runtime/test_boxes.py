import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from medsam_edge.runtime.boxes import (
    box_fill,
    boxes_from_labels,
    boxes_from_masks,
    check_boxes,
    inscribed_ellipse,
    parse_box,
)
from medsam_edge.runtime.errors import BoxError, ExitCode

HW = (40, 60)
QUICK = settings(deadline=None, max_examples=60)  # no deadline: the machine may be busy
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def refused(action: Callable[[], object], *words: str) -> None:
    with pytest.raises(BoxError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert caught.value.exit_code is ExitCode.USAGE


@QUICK
@given(st.tuples(FINITE, FINITE, FINITE, FINITE))
def test_parse_box_reads_what_is_printed(box: tuple[float, float, float, float]) -> None:
    assert parse_box(",".join(map(repr, box))) == box
    assert parse_box(" , ".join(map(repr, box))) == box


@QUICK
@given(st.text("0123456789,.-+einfa _\n", max_size=60))
@example("1,2,3,4\x1b")
@example("1,2,3\n,4\n")
def test_parse_box_reads_four_numbers_or_explains(text: str) -> None:
    try:
        assert np.isfinite(parse_box(text)).all()
    except BoxError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,4,5", "1 2 3 4", "a,b,c,d", "1,2,3,nan", "1,inf,3,4", "1,2,3,1e999", "1,2,3,"],
)
def test_parse_box_refuses(text: str) -> None:
    refused(lambda: parse_box(text), f"“{text}”", "x_min,y_min,x_max,y_max", "10,20,110,95")


def test_parse_box_does_not_repeat_a_novel() -> None:
    with pytest.raises(BoxError, match=r"1{60}…") as caught:
        parse_box("1" * 10_000)
    assert len(str(caught.value)) < 300


def test_good_boxes_come_back_as_a_float32_copy() -> None:
    given = np.array([[0, 0, 60, 40], [1.5, 2.5, 3.5, 4.5]], np.float32)
    checked = check_boxes(given, HW)
    assert checked.dtype == np.float32
    assert not np.shares_memory(checked, given)
    np.testing.assert_array_equal(checked, given)
    np.testing.assert_array_equal(check_boxes([(1, 2, 3, 4)], HW), [[1, 2, 3, 4]])


REFUSED: dict[str, tuple[object, tuple[str, ...]]] = {
    "one flat box": ([1, 2, 3, 4], ("shape (4,)",)),
    "three corners": ([[1, 2, 3]], ("shape (1, 3)",)),
    "volume boxes": ([[1, 2, 3, 4, 5, 6]], ("shape (1, 6)", "volumes are not supported")),
    "ragged": ([[1, 2, 3, 4], [1, 2]], ("rows of different lengths",)),
    "text": ([["1", "2", "3", "4"]], ("values of type <U1",)),
    "objects": ([[None, 2, 3, 4]], ("values of type object",)),
    "gigantic integer": ([[0, 0, 10**400, 1]], ("values of type object",)),
    "booleans": (np.ones((1, 4), bool), ("values of type bool",)),
    "complex": ([[1j, 2, 3, 4]], ("complex",)),
    "none": ([], ("at least one box", "shape (0,)")),
    "none of four": (np.zeros((0, 4)), ("at least one box", "shape (0, 4)")),
    "scalar": (7, ("shape ()",)),
    "NaN": ([[1, 2, 3, 4], [1, np.nan, 3, 4]], ("box 2 of 2", "nan", "60 x 40")),
    "infinite": ([[1, 2, np.inf, 4]], ("box 1 of 1", "inf")),
    "beyond float32": ([[1, 2, 1e300, 4]], ("1e+300", "finite")),
    "inverted x": ([[9, 2, 3, 4]], ("ordered", "9,2,3,4", "swap")),
    "inverted y": ([[1, 9, 3, 4]], ("ordered", "1,9,3,4")),
    "no width": ([[3, 2, 3, 4]], ("area",)),
    "no height": ([[1, 4, 3, 4]], ("area",)),
    "no width as float32": ([[30, 2, 30.0000001, 4]], ("area",)),
    "left of the image": ([[-5, 2, 3, 4]], ("inside its image", "0,2,3,4", "60 x 40")),
    "below the image": ([[1, 2, 3, 41]], ("the part inside, 1,2,3,40",)),
    "right of the image": ([[50, 2, 60.5, 4]], ("50,2,60,4",)),
    "elsewhere": ([[100, 100, 120, 120]], ("does not touch",)),
    "the first of two": ([[1, 2, 3, 4], [-1, 0, 5, 5], [9, 2, 3, 4]], ("box 2 of 3",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_box_that_names_no_region_is_refused(name: str) -> None:
    boxes, words = REFUSED[name]
    refused(lambda: check_boxes(boxes, HW), *words)  # type: ignore[arg-type]


@QUICK
@given(st.lists(st.tuples(*[st.floats(width=32) | st.integers(-5, 70)] * 4), min_size=1, max_size=4))
def test_check_boxes_accepts_exactly_the_ordered_boxes_inside(boxes: list[tuple[float, ...]]) -> None:
    good = all(0 <= x0 < x1 <= HW[1] and 0 <= y0 < y1 <= HW[0] for x0, y0, x1, y1 in boxes)
    if good:
        np.testing.assert_array_equal(check_boxes(boxes, HW), np.array(boxes, np.float32))
    else:
        refused(lambda: check_boxes(boxes, HW), "60 x 40")


@QUICK
@given(st.integers(0, 58), st.integers(0, 38), st.integers(1, 60), st.integers(1, 40), st.booleans())
def test_the_box_of_a_filled_box_is_the_box(x: int, y: int, width: int, height: int, labels: bool) -> None:
    box = [x, y, min(x + width, 59), min(y + height, 39)]
    mask = box_fill(box, HW)
    assert mask.sum() == (box[2] - x + 1) * (box[3] - y + 1)
    found = boxes_from_labels(mask.astype(np.uint16))[0] if labels else boxes_from_masks(mask[None])
    np.testing.assert_array_equal(found, [box])


@pytest.mark.parametrize(
    ("pixel", "hw", "box"),
    [
        ((5, 7), HW, [7, 5, 8, 6]),
        ((39, 59), HW, [58, 38, 59, 39]),
        ((0, 0), HW, [0, 0, 1, 1]),
        ((0, 0), (1, 1), [0, 0, 1, 1]),
        ((0, 3), (1, 9), [3, 0, 4, 1]),
    ],
)
def test_a_single_pixel_gets_a_box_with_area_inside_the_image(
    pixel: tuple[int, int], hw: tuple[int, int], box: list[int]
) -> None:
    labels = np.zeros(hw, np.uint8)
    labels[pixel] = 9
    np.testing.assert_array_equal(boxes_from_labels(labels)[0], [box])
    np.testing.assert_array_equal(boxes_from_masks(labels[None] > 0), [box])
    check_boxes(boxes_from_labels(labels)[0], hw)


@QUICK
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_label_boxes_agree_with_mask_boxes(seed: int, height: int, width: int, objects: int) -> None:
    labels = np.random.default_rng(seed).integers(0, objects + 1, (height, width)) * 3
    boxes, ids = boxes_from_labels(labels)
    assert ids.tolist() == [label for label in np.unique(labels) if label]
    assert boxes.shape == (len(ids), 4)
    np.testing.assert_array_equal(boxes, boxes_from_masks(labels == ids[:, None, None]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_labels_are_found_in_every_integer_type_and_memory_layout(dtype: type) -> None:
    labels = np.zeros(HW, dtype)
    labels[3:5, 7:9], labels[30:, 50:] = 2, 100
    for layout in (labels, np.asfortranarray(labels)):
        boxes, ids = boxes_from_labels(layout)
        assert ids.tolist() == [2, 100]
        np.testing.assert_array_equal(boxes, [[7, 3, 8, 4], [50, 30, 59, 39]])


def test_background_alone_has_no_boxes() -> None:
    boxes, ids = boxes_from_labels(np.zeros(HW, np.uint8))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert ids.shape == (0,)
    assert boxes_from_masks(np.zeros((0, *HW), np.bool_)).shape == (0, 4)
    assert boxes_from_labels(np.zeros((0, 0), np.uint8))[0].shape == (0, 4)


def test_what_has_no_box_is_refused() -> None:
    masks = np.zeros((3, *HW), np.bool_)
    masks[:2, 4, 4] = True
    refused(lambda: boxes_from_masks(masks), "mask 2 of 3 is empty")
    refused(lambda: boxes_from_masks(masks[0]), "shape (40, 60)")
    refused(lambda: boxes_from_labels(masks), "shape (3, 40, 60)")
    refused(lambda: boxes_from_labels(masks[0]), "bool")
    refused(lambda: boxes_from_labels(np.zeros(HW)), "float64")
    refused(lambda: boxes_from_labels(np.full(HW, -1)), "-1", "renumber")


def test_300_labels_on_a_large_map_are_one_pass() -> None:
    labels = np.arange(2000, dtype=np.int32)[:, None] // 100 * 20 + np.arange(2000, dtype=np.int32) // 100
    labels[labels > 300] = 0
    began = time.process_time()
    boxes, ids = boxes_from_labels(labels)
    assert time.process_time() - began < 0.5  # 300 comparisons of the whole map take several times as long
    assert len(boxes) == len(ids) == 300
    np.testing.assert_array_equal(boxes[-1], [0, 1500, 99, 1599])


def test_box_fill_counts_a_pixel_by_its_index() -> None:
    np.testing.assert_array_equal(np.argwhere(box_fill((0.5, 1, 2.5, 2), (4, 4))), [[1, 1], [1, 2], [2, 1], [2, 2]])
    assert box_fill((0, 0, 60, 40), HW).all()


def test_the_ellipse_touches_its_box_and_stays_inside() -> None:
    box = (5, 3, 45, 23)
    ellipse = inscribed_ellipse(box, HW)
    np.testing.assert_array_equal(boxes_from_masks(ellipse[None]), [box])
    assert ellipse.sum() == pytest.approx(np.pi / 4 * 41 * 21, rel=0.02)
    np.testing.assert_array_equal(ellipse[3:24, 5:46], ellipse[3:24, 5:46][::-1, ::-1])
