"""Every way in which a process may end, and that it does end."""

import errno
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from medsam_edge.benchmarks.child import COMMAND, Child
from medsam_edge.benchmarks.worker.messages import Done, Opening, Request
from medsam_edge.runtime.errors import (
    BackendError,
    BundleError,
    DeviceMemoryError,
    MachineError,
    MeasurementError,
    StorageError,
)
from medsam_edge.runtime.predictor import ServedBy

Scripted = Callable[..., Child]
ECHO = """
import os, sys
for line in sys.stdin:
    print('{"answer": {"backend": "%s", "version": "", "device": "", "precision": "", "graphs": {}, "trained": true}}'
          % os.environ.get("GLIBC_TUNABLES", "none"), flush=True)
"""


def scripted(program: str, **env: str) -> Child:
    return Child("a candidate", env, (sys.executable, "-c", program))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_process_that_crashes_is_an_error_with_its_last_words() -> None:
    program = "import sys; sys.stdin.readline(); print('noise', file=sys.stderr); raise RuntimeError('no such engine')"
    with scripted(program) as child, pytest.raises(BackendError) as found:
        child.ask(Request("one box"), Done)
    assert "a candidate" in found.value.expected
    assert found.value.found == "its process ended with 1: RuntimeError: no such engine"


def test_a_process_that_never_started_to_answer_is_the_same_error() -> None:
    with scripted("raise SystemExit('bad luck')") as child, pytest.raises(BackendError, match="bad luck"):
        child.ask(Request("one box"), Done)
    assert gone(child.pid)


def test_a_process_that_the_system_killed_ran_out_of_memory() -> None:
    program = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with scripted(program) as child, pytest.raises(DeviceMemoryError):
        child.ask(Request("one box"), Done)


@pytest.mark.parametrize(
    "line", ["hello", "[]", "{}", "3", '{"answer": {"wrong": 1}}', '{"error": {"kind": "Nobody"}}']
)
def test_nonsense_is_an_error_with_the_line_and_the_last_words(line: str) -> None:
    program = f"import sys; sys.stdin.readline(); print('odd', file=sys.stderr); print({line!r}); sys.stdin.readline()"
    with scripted(program) as child, pytest.raises(MeasurementError) as found:
        child.ask(Request("one box"), Done)
    assert found.value.found == repr(line)
    assert "odd" in found.value.expected


def test_an_error_of_ours_crosses_the_border_as_it_is() -> None:
    parts = '{"kind": "BundleError", "expected": "a", "found": "b", "remedy": "c"}'
    with (
        scripted(f"input(); print('{{\"error\": {parts}}}', flush=True); input()") as child,
        pytest.raises(BundleError, match=r"expected a; found b\. To mend it: c"),
    ):
        child.ask(Request("one box"), Done)


def test_half_a_line_is_no_answer() -> None:
    with scripted("input(); print('{\"answer\": ', end='', flush=True)") as child, pytest.raises(BackendError):
        child.ask(Request("one box"), Done)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_however_the_block_is_left_the_process_ends(error: type[BaseException]) -> None:
    child = scripted("import time; time.sleep(600)")
    assert not gone(child.pid)
    with pytest.raises(error), child:
        raise error
    assert gone(child.pid)


def test_a_process_that_does_not_leave_by_itself_is_killed() -> None:
    child = scripted("import time; time.sleep(600)")
    child.close(grace_s=0.1)
    child.close()
    assert gone(child.pid)


def test_what_is_added_to_the_environment_arrives() -> None:
    with scripted(ECHO, GLIBC_TUNABLES="glibc.malloc.hugetlb=1") as child:
        assert child.ask(Request("one box"), ServedBy).backend == "glibc.malloc.hugetlb=1"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MachineError, match="a process for x"):
        Child("x", command=("/nowhere/at/all",))


def test_without_room_for_its_last_words_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(StorageError, match=r"a temporary file that can be written; found .*No space left.*TMPDIR"):
        Child("x")


def test_a_real_worker_ignores_ctrl_c_and_leaves_when_nobody_asks_any_more() -> None:
    with Child("the matrix product", command=COMMAND) as child:
        child.ask(Opening("gemm", library="numpy"), Done)
        child._process.send_signal(signal.SIGINT)
        assert child._process.poll() is None
    assert child._process.returncode == 0
