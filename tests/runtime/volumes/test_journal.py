from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.errors import StorageError, UsageError
from medsam_edge.runtime.volumes.conventions import CONVENTIONS
from medsam_edge.runtime.volumes.journal import Journal
from medsam_edge.runtime.volumes.prompts import Prompt
from medsam_edge.runtime.volumes.tracks import UP, Step, Tracks

PROMPTS = (Prompt((0.0, 0.0, 8.0, 8.0), 0, 0, 5),)
KEY = {"voxels": "abc", "prompts": [1, 2]}


def tracks() -> Tracks:
    return Tracks(PROMPTS, CONVENTIONS["litemedsam"], "stop")


def write(path: Path, slices: int = 3, dtype: type = np.uint8) -> Tracks:
    one, view = tracks(), np.zeros((6, 8, 9), dtype)
    with Journal(path, KEY) as journal:
        assert journal.replay(one, view) == 0
        for index in range(slices):
            one.update(Step(UP, index), np.array([0]), np.ones((1, 8, 9), bool))
            view[index] = index + 1
            journal.note(index + 1, index, one, view[index])
    return one


def replay(path: Path, key: object = KEY, dtype: type = np.uint8) -> tuple[int, Tracks, np.ndarray]:
    one, view = tracks(), np.zeros((6, 8, 9), dtype)
    with Journal(path, key) as journal:  # type: ignore[arg-type]
        return journal.replay(one, view), one, view


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_was_noted_is_taken_up(tmp_path: Path, dtype: type) -> None:
    before = write(tmp_path / "a.journal", dtype=dtype)
    done, after, view = replay(tmp_path / "a.journal", dtype=dtype)
    assert done == 3
    assert view[:, 0, 0].tolist() == [1, 2, 3, 0, 0, 0]
    for one, other in zip(before.arrays, after.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cut", [1, 10, 60, 150])
def test_a_record_that_was_cut_off_is_done_again_and_the_journal_goes_on_behind_the_last_whole_one(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "a.journal"
    write(path)
    path.write_bytes(path.read_bytes()[:-cut])
    done, one, view = replay(path)
    assert done == 2 if cut < 100 else done < 3
    with Journal(path, KEY) as journal:
        journal.replay(one, view)
        journal.note(done + 1, 5, one, np.full((8, 9), 7, np.uint8))
    done_again, _, view = replay(path)
    assert (done_again, view[5, 0, 0]) == (done + 1, 7)


def test_every_altered_byte_ends_what_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    write(path)
    whole = path.read_bytes()
    records = whole.index(b"\n") + 1
    for place in range(records, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        done, _, view = replay(path)
        assert done < 3
        assert view[:, 0, 0].tolist() == [1, 2, 3][:done] + [0] * (6 - done)


def test_a_journal_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    write(path)
    assert replay(path, {**KEY, "voxels": "abd"})[0] == 0
    assert replay(path)[0] == 0


def test_a_file_that_is_no_journal_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a.journal").write_bytes(b"a diary")
    with pytest.raises(UsageError, match="another file"):
        Journal(tmp_path / "a.journal", KEY)
    assert (tmp_path / "a.journal").read_bytes() == b"a diary"
    (tmp_path / "b.journal").symlink_to(tmp_path / "a.journal")
    with pytest.raises(StorageError):
        Journal(tmp_path / "b.journal", KEY)


def test_two_do_not_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.journal", KEY), pytest.raises(StorageError, match="alone"):
        Journal(tmp_path / "a.journal", KEY)
    with Journal(tmp_path / "a.journal", KEY) as journal:
        journal.remove()
    assert not list(tmp_path.iterdir())
