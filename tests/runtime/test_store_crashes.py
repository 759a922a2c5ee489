import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime import claim
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import StorageError
from medsam_edge.runtime.files import write_atomic
from medsam_edge.runtime.manifest import Model, PartSpec
from medsam_edge.runtime.store import BundleWriter

CALLS = ("open", "write", "fsync", "replace", "mkdir", "unlink")
"""What a writer does to the disk, under its names in `os`."""


def graph(name: str) -> bytes:
    return name.encode() * 50


def export(path: Path, name: str) -> None:
    with BundleWriter(path) as writer:
        writer.add_graph(graph(name), part="encoder", precision="fp32", form="bias", targets=())
        writer.add_record("parity", {"of": name})
        writer.commit(
            model=Model(name, "tiny_vit", {}, "0" * 64, True, "demo.pth", "0" * 64),
            profile={},
            pipeline=("encoder",),
            parts=(PartSpec("encoder", (), ()),),
            embedding_size=64,
        )


def names(path: Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir()}


def graph_file(bundle: Bundle) -> Path:
    return bundle.root / bundle.entry("encoder", "fp32").file


def held(path: Path) -> str:
    """Which bundle the folder holds, every file of it checked."""
    bundle = open_bundle(path)
    name = bundle.manifest.model.name
    assert graph_file(bundle).read_bytes() == graph(name)
    assert bundle.record("parity") == {"of": name}
    return name


def assert_tidy(path: Path) -> None:
    assert names(path) == open_bundle(path).manifest.files() | {"manifest.json"}


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of bundles need not survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Killed(BaseException):
    """Stands for SIGKILL: from the call that raises it on, every call raises it."""


@contextmanager
def failing(at: int, error: Callable[[], BaseException], for_ever: bool = False) -> Iterator[list[int]]:
    """Let the call number `at` of all those in CALLS fail; gives the number of calls that failed."""
    done, failed = [0], [0]

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - any function of os
            done[0] += 1
            if done[0] == at + 1 or (for_ever and done[0] > at):
                failed[0] += 1
                raise error()
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrap(getattr(os, name)))
        yield failed


def steps(run: Callable[[int], bool]) -> int:
    """Fail at the first step, at the second, and so on until a run does not come so far."""
    at = 0
    while run(at):
        at += 1
    return at


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("existed", [True, False])
def test_a_kill_at_any_step_leaves_the_old_bundle_or_the_new_one(tmp_path: Path, existed: bool) -> None:
    seen = set()

    def run(at: int) -> bool:
        path = tmp_path / str(at)
        if existed:
            export(path, "old")
        with failing(at, Killed, for_ever=True) as failed, suppress(Killed):
            export(path, "new")
        if existed or (path / "manifest.json").exists():
            seen.add(held(path))
        export(path, "next")
        assert held(path) == "next"
        assert_tidy(path)
        return failed[0] > 0

    assert steps(run) > 15
    assert seen == ({"old", "new"} if existed else {"new"})


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("existed", [True, False])
def test_a_disk_that_is_full_at_any_step_leaves_no_trace(tmp_path: Path, existed: bool) -> None:
    def run(at: int) -> bool:
        path = tmp_path / str(at)
        if existed:
            export(path, "old")
        with failing(at, lambda: OSError(errno.ENOSPC, "full")) as failed:
            try:
                export(path, "new")
            except StorageError:
                outcome = "old" if existed else None
            else:
                outcome = "new"
        if outcome is None:
            assert not path.exists() or names(path) <= {".lock"}
        else:
            assert held(path) == outcome
        export(path, "next")
        assert_tidy(path)
        return failed[0] > 0

    assert steps(run) > 15


def test_a_file_size_limit_stands_for_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    export(tmp_path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with BundleWriter(tmp_path) as writer:
            writer.add_record("parity", {"of": "new"})
            with pytest.raises(StorageError, match="ulimit"):
                writer.add_graph(bytes(9000), part="encoder", precision="fp16", form="bias", targets=())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert held(tmp_path) == "old"
    assert_tidy(tmp_path)


def test_a_commit_that_an_interrupt_follows_is_not_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, data: bytes) -> None:
        write_atomic(path, data)
        if path.name == "manifest.json":
            raise KeyboardInterrupt

    export(tmp_path, "old")
    monkeypatch.setattr("medsam_edge.runtime.store.write_atomic", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path, "new")
    assert held(tmp_path) == "new"


def test_the_name_of_a_temporary_file_is_known(tmp_path: Path) -> None:
    with pytest.raises(Killed), failing(3, Killed, for_ever=True):
        write_atomic(tmp_path / "x", b"x")
    (left,) = tmp_path.iterdir()
    assert claim.is_temporary(left.name)


SCRIPT = """
import itertools, runpy, sys
runpy.run_path(sys.argv[1])
test = runpy.run_path(sys.argv[2])
from pathlib import Path
for round in itertools.count():
    test["export"](Path(sys.argv[3]), "AB"[round % 2])
    print(round, flush=True)
"""


def test_sigkill_leaves_a_whole_bundle_and_no_lock(tmp_path: Path) -> None:
    conftest = Path(__file__).parents[1] / "conftest.py"
    command = [sys.executable, "-c", SCRIPT, str(conftest), __file__, str(tmp_path / "b")]
    random = np.random.default_rng(7)
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(random.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        assert held(tmp_path / "b") in "AB"
        export(tmp_path / "b", "next")
        assert held(tmp_path / "b") == "next"
        assert_tidy(tmp_path / "b")
