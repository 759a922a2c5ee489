import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.calibration import memory as module
from medsam_edge.calibration.memory import Memory, peak_memory
from medsam_edge.runtime.backends.choose import resolve
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BackendError, DeviceMemoryError, MachineError, MeasurementError
from medsam_edge.runtime.types import Case

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no VmHWM on this system")
ORT = resolve("onnxruntime")
MIB = 2**20
Answering = Callable[[str], int | None]


@pytest.fixture
def bundle(real_bundle: Path) -> Bundle:
    pytest.importorskip("onnxruntime")
    return open_bundle(real_bundle)


@pytest.fixture
def case(tiny_cases: tuple[Case, ...]) -> Case:
    return tiny_cases[0]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, bundle: Bundle, case: Case) -> Answering:
    """Measure with another program in the process's place."""

    def ask(program: str) -> int | None:
        monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", program))
        return peak_memory(bundle, ORT, None, case)

    return ask


@linux
def test_the_figure_is_that_of_a_process_with_this_candidate_alone(bundle: Bundle, case: Case) -> None:
    ballast = np.ones(400 * MIB, np.uint8)  # this process is larger than any that opens the tiny graphs
    found = peak_memory(bundle, ORT, None, case)
    assert found is not None
    assert 20 * MIB < found < ballast.nbytes


@linux
def test_an_encoder_that_is_in_no_bundle_is_the_one_that_is_opened(bundle: Bundle, case: Case) -> None:
    encoder = (bundle.root / bundle.entry("encoder", "fp32").file).read_bytes()
    assert peak_memory(bundle, ORT, encoder, case)
    with pytest.raises(BackendError, match="to answer an image"):
        peak_memory(bundle, ORT, b"no graph", case)


def test_a_candidate_that_cannot_be_measured_is_a_note_and_no_figure(bundle: Bundle, case: Case) -> None:
    memory = Memory(bundle, case)
    assert memory.of(ORT, b"no graph") is None
    (note,) = memory.notes
    assert note.startswith("The memory of onnxruntime is not known: ")


def test_a_system_without_such_a_figure_gives_none(answering: Answering) -> None:
    assert answering("""print('{"bytes": null}')""") is None


def test_what_a_library_prints_before_the_answer_does_no_harm(answering: Answering) -> None:
    assert answering("""print('hello'); print('{"bytes": 7}')""") == 7


@pytest.mark.parametrize(("program", "kind", "said"), [
    ("print('noise')", MeasurementError, "one JSON object from a started process; found 'noise'"),
    ("print('{}')", MeasurementError, "one JSON object"),
    ("pass", MeasurementError, "'nothing'"),
    ("import os; os.kill(os.getpid(), 9)", DeviceMemoryError, "the system killed its process"),
    ("raise SystemExit('it is broken')", BackendError, "it is broken"),
])  # fmt: skip
def test_a_process_that_fails_is_an_error_of_ours(
    answering: Answering, program: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        answering(program)


def test_a_process_that_the_system_does_not_start(bundle: Bundle, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", ("/nowhere/at/all",))
    with pytest.raises(MachineError, match="a process for onnxruntime; found No such file or directory"):
        peak_memory(bundle, ORT, None, case)
