"""The journal: what was stored is found, what was killed goes on, what is damaged is computed again."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.calibration import work
from medsam_edge.calibration.work import Entry, Journal
from medsam_edge.runtime.errors import MedSAMEdgeError, StorageError, UsageError

KEY: dict[str, object] = {"graph": "0" * 64, "images": ["a", "b"], "digest": "1", "limit": 0.1}
ARRAYS = {
    "blocks.0/qkv.peaks": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.int64(7),
    "empty": np.zeros((0, 4), np.int8),
    "names": np.array(["ä", "b"]),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


def never() -> Entry:
    pytest.fail("computed again")


def same(one: Entry, other: Entry) -> bool:
    arrays = zip(one.arrays.values(), other.arrays.values(), strict=True)
    return (one.value, list(one.arrays)) == (other.value, list(other.arrays)) and all(
        np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype for a, b in arrays
    )


def files(path: Path) -> list[Path]:
    return sorted(path.iterdir())


def test_what_was_stored_is_found_by_another_journal(tmp_path: Path) -> None:
    value = {"score": 0.1 + 0.2, "names": ["ä\ud800", ""], "none": None, "yes": True, "large": 2**70}
    stored = Journal(tmp_path / "a" / "j", KEY).store("one", Entry(value, ARRAYS))
    journal = Journal(str(tmp_path / "a" / "j"), dict(reversed(KEY.items())))
    found = journal.find("one")
    assert found is not None
    assert same(found, stored)
    assert same(found, Entry(value, ARRAYS))
    assert same(journal.once("one", never), stored)
    assert journal.find("two") is None
    assert journal.notes == []


def test_the_first_result_and_the_found_one_are_of_the_same_types(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Score:
        mean: float

    journal = Journal(tmp_path / "j", {"of": Score(0.5), "at": Path("/x")})
    first = journal.once("one", lambda: Entry({"pair": (1, 2), "score": Score(0.25)}, {"a": np.ones(2)}))
    again = journal.once("one", never)
    assert first.value == again.value == {"pair": [1, 2], "score": {"mean": 0.25}}
    for entry in (first, again):
        with pytest.raises(ValueError, match="read-only"):
            entry.arrays["a"][0] = 2


def test_the_folder_is_its_owners_and_made_by_the_first_result(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", KEY)
    assert journal.find("one") is None
    assert not (tmp_path / "j").exists()
    before = os.umask(0)
    try:
        journal.store("one", Entry(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700


CHANGES: list[dict[str, object]] = [
    {"graph": "1" * 64},
    {"digest": "2"},
    {"limit": 0.10000000000000002},
    {"images": ["b", "a"]},
    {"more": None},
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_key_starts_anew_and_the_old_one_keeps_its_results(tmp_path: Path, change: dict[str, object]) -> None:
    Journal(tmp_path, KEY).store("one", Entry("old"))
    journal = Journal(tmp_path, KEY | change)
    assert journal.find("one") is None
    assert journal.once("one", lambda: Entry("new")).value == "new"
    assert journal.once("one", never).value == "new"
    assert Journal(tmp_path, KEY).once("one", never).value == "old"


def test_another_version_of_the_toolkit_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Journal(tmp_path, KEY).store("one", Entry("old"))
    monkeypatch.setattr(work, "__version__", "0.0.0")
    journal = Journal(tmp_path, KEY)
    assert journal.find("one") is None
    assert journal.notes == []


def test_a_result_is_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path, KEY)
    journal.store("one", Entry(1))
    journal.store("one", Entry(2))
    assert journal.once("one", never).value == 2
    assert len(files(tmp_path)) == 1


def test_unknown_files_stay(tmp_path: Path) -> None:
    strange = {"notes.txt": b"mine", "0" * 64 + ".npz": b"not ours", ".0123456789abcdef.tmp": b"half"}
    for name, data in strange.items():
        (tmp_path / name).write_bytes(data)
    Journal(tmp_path, KEY).store("one", Entry(1))
    Journal(tmp_path, KEY | {"graph": ""}).store("one", Entry(1))
    assert {name: (tmp_path / name).read_bytes() for name in strange} == strange
    assert len(files(tmp_path)) == 5


def test_no_damage_changes_a_result(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {})
    kept = journal.store("one", Entry([1.5, "text"], {"a": np.arange(4, dtype=np.int16)}))
    (path,) = files(tmp_path)
    whole, noticed = path.read_bytes(), 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        journal.notes.clear()
        found = journal.find("one")
        assert (found is None) == bool(journal.notes)
        assert found is None or same(found, kept)
        noticed += found is None
    assert noticed > len(whole) / 2


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "text": lambda _: b"{}",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_result_is_a_note_and_computed_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    Journal(tmp_path, KEY).store("one", Entry(1, ARRAYS))
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    journal = Journal(tmp_path, KEY)
    assert journal.once("one", lambda: Entry(2)).value == 2
    assert len(journal.notes) == 1
    assert path.name in journal.notes[0]
    assert journal.notes[0].endswith("computed again")
    assert Journal(tmp_path, KEY).once("one", never).value == 2


def test_a_result_under_anothers_name_is_not_believed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, KEY)
    journal.store("one", Entry(1))
    (one,) = files(tmp_path)
    journal.store("two", Entry(2))
    (two,) = set(files(tmp_path)) - {one}
    two.write_bytes(one.read_bytes())
    assert journal.find("two") is None
    assert "another one" in journal.notes[0]
    for text in ("[]", "nothing", "[" * 100_000):
        with two.open("wb") as stream:
            np.savez(stream, head=np.frombuffer(text.encode(), np.uint8))
        assert journal.find("two") is None
    assert len(journal.notes) == 4


def test_pickled_objects_are_neither_written_nor_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, KEY)
    with pytest.raises(UsageError, match="plain numbers in a; found Python objects"):
        journal.store("one", Entry(1, {"a": np.array([{}], object)}))
    assert files(tmp_path) == []
    journal.store("one", Entry(1, ARRAYS))
    (path,) = files(tmp_path)
    with path.open("wb") as stream:
        np.savez(stream, head=np.array([print], object))
    assert journal.find("one") is None
    assert "pickled" in journal.notes[0]


@pytest.mark.parametrize("value", [float("nan"), np.float32(1), {1: 2}, b"", {"a": object()}])
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(UsageError, match="something that JSON can hold"):
        Journal(tmp_path, {"of": value})
    with pytest.raises(UsageError, match="something that JSON can hold"):
        Journal(tmp_path, KEY).store("one", Entry(value))
    assert files(tmp_path) == []


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "j"):
        with pytest.raises(StorageError):
            Journal(path, KEY).store("one", Entry(1))


def test_an_error_of_the_work_stores_nothing(tmp_path: Path) -> None:
    def fail() -> Entry:
        raise MedSAMEdgeError("work", "none", "try again")

    journal = Journal(tmp_path / "j", KEY)
    with pytest.raises(MedSAMEdgeError):
        journal.once("one", fail)
    assert journal.find("one") is None


SCRIPT = """
import os, runpy, sys
runpy.run_path(sys.argv[1])
import numpy as np
from medsam_edge.calibration.work import Entry, Journal
where, step = sys.argv[3], int(sys.argv[4])
journal = Journal(sys.argv[2], {"images": 5})
def work(at):
    if at == step and where == "compute":
        os._exit(9)
    if at == step:
        setattr(os, where, lambda *_, **__: os._exit(9))
    print(at)
    sys.stdout.flush()
    return Entry(at * 10, {"a": np.full(3, at)})
found = [journal.once(f"image {at}", lambda: work(at)) for at in range(5)]
print([entry.value for entry in found], sum(int(entry.arrays["a"].sum()) for entry in found), journal.notes)
"""


def run(path: Path, where: str, step: int) -> tuple[int, list[str]]:
    conftest = Path(__file__).parents[1] / "conftest.py"
    command = [sys.executable, "-c", SCRIPT, str(conftest), str(path), where, str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("where", ["compute", "write", "fsync", "replace"])
def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path: Path, where: str) -> None:
    path = tmp_path / "j"
    code, lines = run(path, where, 2)
    assert (code, lines) == (9, ["0", "1"] + ["2"] * (where != "compute"))
    left = len(files(path))
    assert run(path, "compute", -1) == (0, ["2", "3", "4", "[0, 10, 20, 30, 40] 30 []"])
    assert run(path, "compute", -1) == (0, ["[0, 10, 20, 30, 40] 30 []"])
    assert len(files(path)) == left + 3
