"""A worker without a process, for tests of what is done with its answers."""

from collections import deque
from collections.abc import Mapping
from typing import TypeVar

import pytest
from medsam_edge.benchmarks import bench
from medsam_edge.benchmarks.worker import serve
from medsam_edge.benchmarks.worker.messages import answer_line, read_answer, to_line

T = TypeVar("T")


class Here:
    """Answers as a worker does, in this process: the same lines, no pipe and no waiting."""

    asked: list[tuple[str, object]]

    def __init__(self, who: str, env: Mapping[str, str] | None = None) -> None:
        self.who = who
        self._lines: deque[str] = deque()
        self._answers = serve.answers(iter(self._lines.popleft, None))

    def ask(self, message: object, kind: type[T]) -> T:
        type(self).asked.append((self.who, message))
        self._lines.append(to_line(message))
        return read_answer(kind, answer_line(next(self._answers)), self.who)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """`bench` without processes; who was asked what, over all workers, in order."""
    Here.asked = []
    monkeypatch.setattr(serve, "quiet", lambda: True)
    monkeypatch.setattr(bench, "Child", Here)
    return Here.asked
