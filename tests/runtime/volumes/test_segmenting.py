import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import CancelledError
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.volumes.journal import Journal
from medsam_edge.runtime.volumes.planes import slicing_named
from medsam_edge.runtime.volumes.prompts import Prompt, VolumeBox, prompts_from_boxes, prompts_from_labels
from medsam_edge.runtime.volumes.segmenting import (
    Prepared,
    SegmentedVolume,
    VolumeOptions,
    journal_key,
    prepare,
    segment_volume,
)
from medsam_edge.runtime.volumes.volume import Volume

from .conftest import OBLIQUE, Oracle, numbered

SHAPE = (12, 24, 20)
Make = Callable[..., Volume]


def objects() -> np.ndarray:
    """Two ellipsoids that share slices and start from different ones."""
    z, y, x = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((z - 4) / 4) ** 2 + ((y - 7) / 5) ** 2 + ((x - 6) / 4) ** 2 <= 1] = 5
    labels[((z - 8) / 3) ** 2 + ((y - 18) / 4) ** 2 + ((x - 13) / 5) ** 2 <= 1] = 9
    return labels


def run(predictor: Predictor, volume: Volume, labels: Volume, **options: Any) -> SegmentedVolume:  # noqa: ANN401
    prepared = prepare(volume, predictor, VolumeOptions(**options))
    prompts = prompts_from_labels(labels, volume, prepared.slicing, prepared.convention)
    return segment_volume(predictor, prepared, prompts)


@pytest.mark.parametrize("slicing", ["acquisition", "axial", "coronal", "sagittal"])
@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE, np.diag([-1.0, 1, -1, 1]), OBLIQUE[:, [2, 0, 1, 3]]])
def test_a_model_that_knows_the_answer_gives_it_in_the_space_of_the_file(
    volume_of: Make, oracle: Callable[..., Oracle], affine: np.ndarray, slicing: str
) -> None:
    labels, voxels = volume_of(objects(), affine), np.zeros(SHAPE, np.uint8)
    volume = volume_of(voxels, affine)
    view = slicing_named(slicing, volume.geometry).view(voxels)
    view[:, 0, 0] = np.arange(len(view))
    found = run(oracle(slicing_named(slicing, volume.geometry).view(objects())), volume, labels, slicing=slicing)
    np.testing.assert_array_equal(found.labels, np.select([objects() == 5, objects() == 9], [1, 2]))
    assert found.voxels.tolist() == [np.count_nonzero(objects() == label) for label in (5, 9)]


def test_each_slice_is_encoded_once_for_all_objects(volume_of: Make, oracle: Callable[..., Oracle]) -> None:
    model, volume = oracle(objects()), volume_of(numbered(SHAPE))
    found = run(model, volume, volume_of(objects()))
    assert sorted(model.encoded) == sorted(set(model.encoded)) == list(range(12))
    assert (found.encoded, found.decoded) == (12, 9 + 7)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_without_room_a_slice_is_encoded_twice_at_most_and_masks_stay(
    volume_of: Make, oracle: Callable[..., Oracle], ahead: int
) -> None:
    model, volume, labels = oracle(objects()), volume_of(numbered(SHAPE)), volume_of(objects())
    expected = run(model, volume, labels).labels
    model.encoded.clear()
    found = run(model, volume, labels, keep_bytes=0, ahead=ahead)
    assert max(model.encoded.count(index) for index in range(12)) == 2
    np.testing.assert_array_equal(found.labels, expected)


def test_boxes_follow_the_previous_mask_from_the_middle(volume_of: Make, oracle: Callable[..., Oracle]) -> None:
    model, volume = oracle(objects() == 5), volume_of(numbered(SHAPE))
    prepared = prepare(volume, model, VolumeOptions(convention="medficientsam"))
    (prompt, *_) = prompts_from_labels(volume_of(objects()), volume, prepared.slicing, prepared.convention)
    segment_volume(model, prepared, [prompt])
    assert [index for index, _ in model.asked] == [4, 5, 6, 7, 8, 3, 2, 1, 0]
    for index, box in model.asked[1:]:
        before = index - 1 if index > 4 else index + 1
        rows, columns = np.nonzero(objects()[before] == 5)
        assert box == (
            columns.min(),
            rows.min(),
            columns.max() + (np.ptp(columns) == 0),
            rows.max() + (not np.ptp(rows)),
        )


@pytest.mark.parametrize(("rule", "last"), [("stop", 6), ("first-box", 8)])
def test_an_object_ends_at_an_empty_mask_or_begins_again(
    volume_of: Make, oracle: Callable[..., Oracle], rule: str, last: int
) -> None:
    model, volume = oracle(objects() == 5, empty=(6,)), volume_of(numbered(SHAPE))
    prepared = prepare(volume, model, VolumeOptions(after_empty=rule))
    prompt = Prompt((1.0, 1.0, 15.0, 15.0), 4, 0, 8)
    segment_volume(model, prepared, [prompt])
    assert max(index for index, _ in model.asked) == last


def test_a_box_on_one_slice_is_followed_to_the_end_of_its_object(
    volume_of: Make, oracle: Callable[..., Oracle]
) -> None:
    model, volume = oracle(objects() == 5), volume_of(numbered(SHAPE))
    prepared = prepare(volume, model, VolumeOptions())
    prompts = prompts_from_boxes([VolumeBox((1, 1, 15, 14), 4)], SHAPE, prepared.slicing, prepared.convention)
    found = segment_volume(model, prepared, prompts)
    np.testing.assert_array_equal(found.labels, objects() == 5)
    assert max(index for index, _ in model.asked) == 9  # where it found nothing


@pytest.mark.parametrize("starts", [(2, 9), (9, 2), (5, 5)])
def test_the_later_object_lies_over_the_earlier_one_in_whatever_order_slices_come(
    volume_of: Make, oracle: Callable[..., Oracle], starts: tuple[int, int]
) -> None:
    full = np.ones(SHAPE, bool)
    model, volume = oracle(full), volume_of(numbered(SHAPE))
    prepared = prepare(volume, model, VolumeOptions(convention="medficientsam"))
    boxes = ((2.0, 2.0, 12.0, 12.0), (8.0, 8.0, 16.0, 16.0))
    prompts = [Prompt(box, start, 0, 11) for box, start in zip(boxes, starts, strict=True)]
    found = segment_volume(model, prepared, prompts)
    expected = np.zeros(SHAPE[1:], np.uint8)
    expected[2:13, 2:13], expected[8:17, 8:17] = 1, 2
    assert (found.labels == expected).all()
    assert found.voxels.tolist() == [12 * 121, 12 * 81]


def test_more_than_255_objects_do_not_wrap(volume_of: Make, oracle: Callable[..., Oracle]) -> None:
    model, volume = oracle(np.ones((2, 24, 20), bool)), volume_of(numbered((2, 24, 20)))
    prompts = [
        Prompt((float(n % 10), float(n // 10 % 10), n % 10 + 1.0, n // 10 % 10 + 1.0), 0, 0, 1) for n in range(300)
    ]
    found = segment_volume(model, prepare(volume, model, VolumeOptions()), prompts)
    assert (found.labels.dtype, found.labels.max()) == (np.uint16, 300)


class Killed(BaseException):
    """What a test raises in the place of a signal."""


@pytest.mark.parametrize("stop", range(1, 15, 3))
@pytest.mark.parametrize("room", [0, 2**29])
def test_a_run_that_was_killed_goes_on_and_gives_the_same(
    volume_of: Make, oracle: Callable[..., Oracle], tmp_path: Path, stop: int, room: int
) -> None:
    volume = volume_of(numbered(SHAPE))
    model = oracle(objects())
    prepared = prepare(volume, model, VolumeOptions(keep_bytes=room))
    prompts = prompts_from_labels(volume_of(objects()), volume, prepared.slicing, prepared.convention)
    expected, key = segment_volume(model, prepared, prompts), journal_key(model, prepared, prompts)
    asked = list(model.asked)

    def progress(done: int, _count: int) -> None:
        if done >= stop:
            raise Killed

    model.asked.clear()
    with pytest.raises(Killed), Journal(tmp_path / "a", key) as journal:
        segment_volume(model, prepared, prompts, journal, progress)
    with Journal(tmp_path / "a", key) as journal:
        found = segment_volume(model, prepared, prompts, journal)
    assert model.asked == asked  # nothing twice, nothing left out
    assert found.resumed >= stop
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.voxels.tolist() == expected.voxels.tolist()


def test_the_key_of_a_journal_is_all_that_labels_depend_on(volume_of: Make, oracle: Callable[..., Oracle]) -> None:
    model, volume = oracle(objects()), volume_of(numbered(SHAPE))
    prompt = Prompt((1.0, 1.0, 15.0, 15.0), 4, 0, 8)

    def key(options: VolumeOptions, prompts: list[Prompt], volume: Volume = volume) -> dict[str, object]:
        return journal_key(model, prepare(volume, model, options), prompts)

    first, other = key(VolumeOptions(), [prompt]), numbered(SHAPE)
    other[3, 3, 3] += 1
    assert key(VolumeOptions(ahead=0, keep_bytes=1), [prompt]) == first
    for changed in (
        key(VolumeOptions(after_empty="first-box"), [prompt]),
        key(VolumeOptions(convention="daft"), [prompt]),
        key(VolumeOptions(slicing="coronal"), [prompt]),
        key(VolumeOptions(), [replace(prompt, last=7)]),
        key(VolumeOptions(), [prompt], volume_of(other)),
    ):
        assert changed != first


def test_cancelling_stops_before_the_next_slice(volume_of: Make, oracle: Callable[..., Oracle]) -> None:
    model, cancel = oracle(objects()), threading.Event()
    volume = volume_of(numbered(SHAPE))
    prepared = prepare(volume, model, VolumeOptions())
    prompts = prompts_from_labels(volume_of(objects()), volume, prepared.slicing, prepared.convention)
    threads = threading.active_count()
    with pytest.raises(CancelledError):
        segment_volume(model, prepared, prompts, None, lambda done, _: cancel.set() if done == 3 else None, cancel)
    assert len({index for index, _ in model.asked}) == 3
    assert threading.active_count() == threads


def grown(make: Make, model: Oracle, depth: int) -> int:
    """Bytes that segmenting takes at most, beyond voxels and labels."""
    voxels = np.zeros((depth, 48, 48), np.uint8)
    prepared: Prepared = prepare(make(voxels), model, VolumeOptions(keep_bytes=2**18))
    prompts = [Prompt((2.0, 2.0, 30.0, 30.0), start, 0, depth - 1) for start in (depth // 4, depth // 2)]
    tracemalloc.start()
    segment_volume(model, prepared, prompts)
    peak = tracemalloc.get_traced_memory()[1] - voxels.nbytes
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_slices(volume_of: Make, fake_predictor: Callable[..., Oracle]) -> None:
    model = fake_predictor()
    grown(volume_of, model, 30)  # what is loaded once
    few, many = (grown(volume_of, model, depth) for depth in (30, 300))
    assert many < few + 300 * 1024  # a step is a hundred bytes; an embedding would be 64 KiB for each slice
