"""What becomes of a child that builds, crashes, is killed or talks nonsense."""

import sys
from pathlib import Path

import pytest
from medsam_edge.runtime.engines.attempts import build_watched
from medsam_edge.runtime.engines.builder import Order
from medsam_edge.runtime.engines.options import MIB, BuildOptions
from medsam_edge.runtime.errors import (
    BackendError,
    BundleError,
    DeviceMemoryError,
    MachineError,
    MedSAMEdgeError,
    WorkspaceError,
)

FACTS = (
    '{"part":"encoder","precision":"fp16","buckets":[1],"ports":[],"census":{"layers":1,"operations":{},"scores_bytes":0},'
    '"activation_bytes":[],"device_memory_bytes":null,"weight_bytes":0,"layers":null,"seconds":1.0,"level":LEVEL,'
    '"workspace_bytes":SPACE,"warnings":[]}'
)


def order(folder: Path) -> Order:
    options = BuildOptions("rtx", (1,), 1024 * MIB, 3)
    return Order("g.onnx", "encoder", "fp16", options, str(folder / "engine"), str(folder / "timing"))


def child(program: str) -> tuple[str, ...]:
    """A child that reads its order and then does as the program says; `tell` answers with what it built."""
    start = f"""
import json, os, signal, sys
order = json.load(open(sys.argv[1]))
options = order["options"]
def tell():
    facts = {FACTS!r}.replace("LEVEL", str(options["level"])).replace("SPACE", str(options["workspace_bytes"]))
    print('{{"built": ' + facts + '}}', flush=True)
open(order["out"], "w").write("half")
"""
    return (sys.executable, "-c", start + program)


class Told:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.said: list[str] = []

    def step(self, name: str, done: int, count: int) -> None:
        self.steps.append((name, done, count))


@pytest.fixture
def told() -> Told:
    return Told()


def test_progress_and_the_answer_come_from_the_child(tmp_path: Path, told: Told) -> None:
    program = "print('{\"step\": [\"timing\", 1, 3]}'); print('nonsense'); tell()"
    facts = build_watched(order(tmp_path), told.step, told.said.append, child(program))
    assert (facts.level, facts.workspace_bytes // MIB) == (3, 1024)
    assert told.steps == [("timing", 1, 3)]
    assert (tmp_path / "engine").read_text() == "half"


def test_a_child_that_is_killed_is_followed_by_smaller_ones(tmp_path: Path, told: Told) -> None:
    program = f"tell() if options['workspace_bytes'] <= {256 * MIB} else os.kill(os.getpid(), signal.SIGKILL)"
    facts = build_watched(order(tmp_path), told.step, told.said.append, child(program))
    assert (facts.level, facts.workspace_bytes // MIB) == (2, 256)
    assert told.said == [
        "encoder: out of memory with a workspace of 1024 MiB at level 3",
        "encoder: out of memory with a workspace of 512 MiB at level 3",
    ]


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "the system killed the build"),
        (
            'print(json.dumps({"error": ["DeviceMemoryError", "memory", "Cuda Runtime (out of memory)", "less"]}))',
            "Cuda Runtime (out of memory)",
        ),
    ],
)
def test_where_every_attempt_runs_out_of_memory_the_ladder_is_told_and_nothing_is_left(
    tmp_path: Path, told: Told, program: str, found: str
) -> None:
    with pytest.raises(DeviceMemoryError) as caught:
        build_watched(order(tmp_path), told.step, told.said.append, child(program))
    assert caught.value.exit_code == 7
    for words in ("1024 MiB at level 3", "512 MiB at level 3", "256 MiB at level 2", "128 MiB at level 1", found):
        assert words in caught.value.found
    assert "a larger --workspace" in caught.value.remedy
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize(
    ("program", "kind", "found"),
    [
        ("print('oops', file=sys.stderr); os.kill(os.getpid(), 11)", BackendError, "SIGSEGV; last words: oops"),
        ("os.kill(os.getpid(), signal.SIGABRT)", BackendError, "SIGABRT; no last words"),
        ('print(json.dumps({"error": ["WorkspaceError", "a", "no tactics", "c"]}))', WorkspaceError, "no tactics"),
        ("sys.exit(3)", BackendError, "ended with 3 and no answer"),
        ("pass", BackendError, "ended with 0 and no answer"),
        ("tell(); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)", BackendError, "SIGSEGV"),
        ('print(json.dumps({"error": ["BundleError", "a", "node_17", "c"]}))', BundleError, "node_17"),
        ('print(json.dumps({"error": ["NoSuchError", "a", "b", "c"]}))', MedSAMEdgeError, "b"),
    ],
)  # fmt: skip
def test_a_child_that_fails_is_an_error_at_once(
    tmp_path: Path, told: Told, program: str, kind: type[MedSAMEdgeError], found: str
) -> None:
    with pytest.raises(kind, match=found):
        build_watched(order(tmp_path), told.step, told.said.append, child(program))
    assert told.said == []


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path, told: Told) -> None:
    with pytest.raises(MachineError, match="a process for the build"):
        build_watched(order(tmp_path), told.step, told.said.append, ("/no/such/program",))
