import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from medsam_edge.runtime import state as module
from medsam_edge.runtime.errors import BundleError, StorageError, UsageError
from medsam_edge.runtime.state import CacheStatus, StateFolder
from medsam_edge.runtime.state_manifest import MAX_BLOBS, BlobEntry, BlobKey, StateManifest, encode_state

KEY = BlobKey(
    part="encoder",
    graph="a" * 64,
    graph_precision="fp32",
    backend="openvino",
    version="2026.3.0-1",
    device="CPU",
    device_facts={"FULL_DEVICE_NAME": "A processor"},
    capabilities=("FP32", "avx2"),
    precision="f32",
    threads=None,
    properties={"PERFORMANCE_HINT": "LATENCY"},
    toolkit_version="0.1.0",
)
OTHERS: dict[str, object] = {
    "graph": "b" * 64,
    "version": "2026.4.0-1",
    "device_facts": {"FULL_DEVICE_NAME": "Another processor"},
    "capabilities": ("FP32", "BF16", "avx2"),
    "properties": {"PERFORMANCE_HINT": "THROUGHPUT"},
    "toolkit_version": "0.2.0",
}
CHOICES: dict[str, object] = {
    "part": "decoder",
    "graph_precision": "int8",
    "backend": "another",
    "device": "GPU",
    "precision": "bf16",
    "threads": 3,
}
ORIGIN = "/bundles/one/graphs"
DATA = os.urandom(5000)


def other(name: str) -> BlobKey:
    return replace(KEY, **{name: (OTHERS | CHOICES)[name]})


def store(folder: StateFolder, key: BlobKey = KEY, data: bytes = DATA, origin: str = ORIGIN) -> BlobEntry:
    return folder.store(key, origin, memoryview(data))


def filled(folder: StateFolder, entry: BlobEntry) -> bytes:
    memory = bytearray(entry.bytes)
    folder.fill(entry, memoryview(memory))
    return bytes(memory)


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "device" / "state")


def test_what_was_stored_is_found_by_whoever_opens_the_folder_later(folder: StateFolder) -> None:
    entry = store(folder)
    again = StateFolder(folder.root)
    assert again.find(KEY, ORIGIN) == (entry, "")
    assert filled(again, entry) == DATA
    assert entry.file == f"{sha256(DATA).hexdigest()}.blob"
    assert names(folder.root) == {"state.json", entry.file}


def test_a_blob_larger_than_one_read_is_hashed_in_order(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    assert filled(folder, store(folder)) == DATA


def test_the_folder_is_made_for_its_owner_alone_and_not_before_something_is_stored(folder: StateFolder) -> None:
    assert folder.find(KEY, ORIGIN) == (None, "")
    assert not folder.root.exists()
    before = os.umask(0)
    try:
        store(folder)
    finally:
        os.umask(before)
    assert folder.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StorageError, match=f"mode {mode:o}"):
        StateFolder(tmp_path)


def test_a_link_and_somebody_elses_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError, match="a symbolic link"):
        StateFolder(tmp_path / "link")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StorageError, match="a folder of the user"):
        StateFolder(tmp_path / "mine")


def test_a_file_a_bundle_and_a_folder_of_papers_are_refused(tmp_path: Path, own_bundle: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", own_bundle, tmp_path):
        with pytest.raises(UsageError):
            StateFolder(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_turned_unsafe_meanwhile_is_not_written(folder: StateFolder) -> None:
    folder.root.mkdir(parents=True)
    folder.root.chmod(0o777)
    with pytest.raises(StorageError, match="mode 777"):
        store(folder)
    assert names(folder.root) == set()


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_can_change_a_compiled_model_makes_it_stale_and_is_named(folder: StateFolder, name: str) -> None:
    store(folder)
    entry, reason = folder.find(other(name), ORIGIN)
    assert entry is None
    assert reason.startswith(f"{name} was ")
    assert ";" not in reason


@pytest.mark.parametrize("name", CHOICES)
def test_another_choice_is_another_blob_beside_it(folder: StateFolder, name: str) -> None:
    first = store(folder)
    assert folder.find(other(name), ORIGIN) == (None, "")
    second = store(folder, other(name), b"other")
    assert names(folder.root) == {"state.json", first.file, second.file}
    assert folder.find(KEY, ORIGIN)[0] == first
    assert folder.find(other(name), ORIGIN)[0] == second


@pytest.mark.parametrize("name", OTHERS)
def test_a_new_blob_takes_the_place_of_the_stale_one(folder: StateFolder, name: str) -> None:
    store(folder)
    entry = store(folder, other(name), b"new")
    assert names(folder.root) == {"state.json", entry.file}
    assert folder.read()[0].blobs == (entry,)


def test_the_stale_blob_is_gone_before_the_new_one_needs_its_room(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(folder)
    seen: list[set[str]] = []
    write = module.write_atomic

    def watched(path: Path, data: bytes) -> None:
        if path.suffix == ".blob":
            seen.append(names(folder.root))
        write(path, data)

    monkeypatch.setattr(module, "write_atomic", watched)
    store(folder, other("version"), b"new")
    assert seen == [{"state.json", ".lock"}]


def test_another_bundle_keeps_its_blobs(folder: StateFolder) -> None:
    first = store(folder)
    assert folder.find(other("graph"), "/bundles/two/graphs") == (None, "")
    second = store(folder, other("graph"), b"two", "/bundles/two/graphs")
    assert {entry.file for entry in folder.read()[0].blobs} == {first.file, second.file}


def test_the_oldest_go_where_there_would_be_too_many(folder: StateFolder) -> None:
    entries = [store(folder, replace(KEY, graph=f"{i:064x}"), bytes([i]), str(i)) for i in range(MAX_BLOBS + 2)]
    assert folder.read()[0].blobs == tuple(entries[2:])
    assert names(folder.root) == {"state.json", *(entry.file for entry in entries[2:])}


def test_garbage_goes_with_the_next_write_and_nothing_else_does(folder: StateFolder) -> None:
    store(folder)
    garbage = {"0" * 64 + ".blob", ".0123456789abcdef.tmp"}
    for name in (*garbage, "notes.txt"):
        (folder.root / name).write_text("?")
    StateFolder(folder.root).find(KEY, ORIGIN)
    assert garbage <= names(folder.root)
    store(folder, other("threads"), b"more")
    assert not garbage & names(folder.root)
    assert "notes.txt" in names(folder.root)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"?")


@pytest.mark.parametrize("harm", [shorten, lengthen, flip, link, Path.unlink])
def test_a_damaged_blob_is_told_from_a_whole_one(folder: StateFolder, harm: Callable[[Path], None]) -> None:
    entry = store(folder)
    harm(folder.root / entry.file)
    with pytest.raises(BundleError):
        filled(folder, entry)
    if harm is not flip:
        with pytest.raises(BundleError):
            folder.check_size(entry)
    assert filled(folder, store(folder)) == DATA


@pytest.mark.parametrize(
    "harm", [shorten, flip, link, lambda path: path.write_text('{"schema": "medsam-edge/state/9"}')]
)
def test_a_damaged_manifest_counts_as_empty_and_is_written_anew(
    folder: StateFolder, harm: Callable[[Path], None]
) -> None:
    old = store(folder)
    harm(folder.root / "state.json")
    entry, reason = StateFolder(folder.root).find(KEY, ORIGIN)
    assert entry is None
    assert "state.json cannot be believed" in reason
    new = store(folder, data=b"new")
    assert folder.find(KEY, ORIGIN) == (new, "")
    assert old.file not in names(folder.root)


def test_a_manifest_that_leads_out_of_the_folder_is_not_believed(folder: StateFolder) -> None:
    entry = replace(store(folder), file="../../outside.blob")
    manifest = StateManifest("medsam-edge/state/1", "0.1.0", (entry,), "")
    (folder.root / "state.json").write_bytes(encode_state(manifest))
    assert folder.find(KEY, ORIGIN)[0] is None


@pytest.mark.parametrize("suffix", [".blob", ".json"])
def test_a_full_disk_leaves_what_was_there(folder: StateFolder, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    old = store(folder)
    write = module.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.suffix == suffix:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(StorageError, match="No space left"):
        store(folder, other("threads"), b"more")
    monkeypatch.undo()
    assert folder.find(KEY, ORIGIN) == (old, "")
    assert filled(folder, old) == DATA
    store(folder, other("threads"), b"more")  # the lock was given back


def test_many_writers_at_once_leave_a_whole_folder(folder: StateFolder) -> None:
    def write(i: int) -> str:
        try:
            store(StateFolder(folder.root), replace(KEY, threads=i % 8 + 1), os.urandom(2000))
        except StorageError as error:
            return "busy" if "another process" in str(error) else str(error)
        return "stored"

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(write, range(64)))
    assert "stored" in found
    assert found <= {"stored", "busy"}
    manifest, damage = folder.read()
    assert damage == ""
    assert names(folder.root) == {"state.json", *(entry.file for entry in manifest.blobs)}
    for entry in manifest.blobs:
        filled(folder, entry)


def test_a_status_reads_as_a_phrase() -> None:
    assert str(CacheStatus("reused")) == "reused"
    found = str(CacheStatus("rebuilt", "version was 1, is 2", "a full disk"))
    assert found == "rebuilt because version was 1, is 2, not kept for the next start: a full disk"


def test_another_programs_state_json_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"window": 3}')
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        StateFolder(tmp_path)
    assert (tmp_path / "state.json").read_text() == '{"window": 3}'
