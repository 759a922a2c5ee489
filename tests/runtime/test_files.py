import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from medsam_edge.runtime.errors import ExitCode, StorageError
from medsam_edge.runtime.files import (
    is_folder,
    list_folder,
    open_file,
    read_bytes,
    same_file,
    temporary_folder,
    write_atomic,
)


def refused(action: Callable[[], object], *words: str) -> None:
    with pytest.raises(StorageError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert caught.value.exit_code is ExitCode.ENVIRONMENT


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_bytes_come_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a name.bin"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert read_bytes(path, limit=3) == b"new"
    assert list_folder(tmp_path) == [path]


def test_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_write_that_the_system_takes_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    write_atomic(tmp_path / "a", bytes(range(100)))
    assert (tmp_path / "a").read_bytes() == bytes(range(100))


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    write_atomic(link, b"x")
    assert link.is_symlink()
    assert target.read_bytes() == b"x"


REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "read-only",
    errno.EACCES: "permission",
    errno.EIO: "check the disk",
    errno.EBADF: "try again",
}


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", REMEDIES)
def test_a_failed_write_keeps_the_old_file_and_leaves_no_part_of_the_new(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, failing(code))
    refused(lambda: write_atomic(path, b"new"), os.strerror(code), REMEDIES[code], str(path))
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list_folder(tmp_path) == [path]


def test_a_disk_that_fills_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, []

    def fill(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", fill)
    refused(lambda: write_atomic(tmp_path / "a", bytes(50)), "No space left", "free some space")
    assert calls == [50, 40]
    assert list_folder(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", b"x")
    assert list_folder(tmp_path) == []


def test_a_file_system_without_folder_sync_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    write_atomic(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_path_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, words in {
        "absent/a": ("No such file", "create the missing folder"),
        "file/a": ("Not a directory", "parents are all folders"),
        ".": ("Is a directory", "name a file"),
        "n" * 300: ("File name too long", "shorter"),
        "nul\0": ("null", "plain path"),
    }.items():
        refused(lambda name=name: write_atomic(tmp_path / name, b"x"), *words)
    assert list_folder(tmp_path) == [tmp_path / "file"]


def test_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(lambda: write_atomic(pipe, b"x"), "a pipe, socket or device")
    assert pipe.is_fifo()


def test_what_is_no_readable_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in {
        "absent": ("No such file", "spelling"),
        "pipe": ("a pipe, socket or device", "regular file"),
        ".": ("a folder", "regular file"),
        "loop": ("symbolic links",),
        "nul\0": ("null",),
    }.items():
        refused(lambda name=name: open_file(tmp_path / name), *words)
    refused(lambda: list_folder(tmp_path / "absent"), "a folder that can be read", "No such file")


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    assert read_bytes(tmp_path / "a", limit=11) == bytes(11)
    refused(lambda: read_bytes(tmp_path / "a", limit=10), "at most 10 bytes", "a larger one")


def test_a_file_that_lies_about_its_size_is_bounded_too() -> None:
    lying = Path("/proc/self/status")
    if not lying.exists():
        pytest.skip("needs a Linux /proc, whose files claim to be empty")
    refused(lambda: read_bytes(lying, limit=10), "at most 10 bytes")


def test_a_temporary_folder_is_there_and_then_gone() -> None:
    with temporary_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_no_room_for_a_temporary_folder_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    refused(lambda: temporary_folder().__enter__(), "a temporary folder", "TMPDIR")


def test_a_folder_is_told_from_a_file_and_from_nothing(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"")
    assert is_folder(tmp_path)
    assert not is_folder(tmp_path / "a")
    refused(lambda: is_folder(tmp_path / "b"), "b")
    refused(lambda: is_folder(tmp_path / ("n" * 300)), "too long")
    assert same_file(tmp_path / "a", tmp_path / ".." / tmp_path.name / "a")
    assert not same_file(tmp_path / "a", tmp_path / "b")
