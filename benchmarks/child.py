"""The parent's end of a worker: start it, ask it, and end it whatever happens.

A worker that dies, is killed or answers nonsense is an error of ours with the last thing it said. It knows how a
worker is spoken to, and not what is measured.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, TypeVar

from ..runtime.errors import BackendError, DeviceMemoryError, MedSAMEdgeError
from ..runtime.files import temporary_file
from ..runtime.processes import environment, not_started
from .worker.messages import read_answer, to_line

T = TypeVar("T")
COMMAND = (sys.executable, "-m", "medsam_edge.benchmarks.worker")
_GRACE_S = 5.0
_TAIL_BYTES = 4096


class Asked(Protocol):
    """Whoever answers requests: a process, or in tests a function."""

    def ask(self, message: object, kind: type[T]) -> T:
        """Send a request and return its answer."""
        ...


class Child:
    """A worker's process. Use it as a context manager: however the block is left, the process ends.

    Args:
        who: The candidate's name, for errors.
        env: What to add to the environment.
        command: The program and its arguments.

    Raises:
        MachineError: If the process cannot be started.
        StorageError: If there is no room for what it says on standard error.
    """

    def __init__(self, who: str, env: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND) -> None:
        self.who = who
        self._errors = temporary_file()  # a pipe that nobody reads would fill up and block
        whole, pipe = environment(env or {}), subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._errors, env=whole, encoding="utf-8", errors="replace"
            )
        except OSError as error:
            self._errors.close()
            raise not_started(who, command, error) from error

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, message: object, kind: type[T]) -> T:
        """Send a request and wait for its answer, however long it takes.

        Raises:
            MedSAMEdgeError: The worker's own error.
            BackendError: If the process died.
            DeviceMemoryError: If it was killed, which systems do when memory runs out.
            MeasurementError: If it answered nonsense.
        """
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # it died; the empty line below says so too
            self._process.stdin.write(to_line(message))
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise self._death()
        return read_answer(kind, line, self._described())

    def close(self, grace_s: float = _GRACE_S) -> None:
        """End the process: let it leave by itself for `grace_s` seconds, then kill it. May be called twice."""
        with suppress(BrokenPipeError):
            if self._process.stdin and not self._process.stdin.closed:
                self._process.stdin.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(0.0 if error is not None else _GRACE_S)

    def _death(self) -> MedSAMEdgeError:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            return BackendError(f"{self.who} to answer", f"no more output; {self._last_words()}", "run it again")
        if code == -signal.SIGKILL:
            remedy = "close other programs, use a smaller model, or measure fewer candidates at once"
            return DeviceMemoryError(f"enough memory for {self.who}", "the system killed its process", remedy)
        found = f"its process ended with {code}: {self._last_words()}"
        return BackendError(f"{self.who} to answer", found, "run it again; if it stays, leave this candidate out")

    def _described(self) -> str:
        return f"{self.who} (last on standard error: {self._last_words()})"

    def _last_words(self) -> str:
        size = os.fstat(self._errors.fileno()).st_size
        tail = os.pread(self._errors.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "nothing"
