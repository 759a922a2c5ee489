import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from medsam_edge.benchmarks.worker import serve as module
from medsam_edge.benchmarks.worker.messages import Agreement, Done, Measured, Opening, Request, read_answer, to_line
from medsam_edge.benchmarks.worker.samples import write_samples
from medsam_edge.benchmarks.worker.serve import serve
from medsam_edge.runtime.errors import BundleError, DeviceMemoryError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.predictor import ServedBy
from medsam_edge.runtime.types import Boxes, Image, Masks


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP_S", 0.0)


@pytest.fixture
def samples(tmp_path: Path, tiny_golden: tuple[Golden, ...]) -> str:
    return str(write_samples(tmp_path / "samples.npz", tiny_golden))


def said(*messages: object) -> list[str]:
    lines: list[str] = []
    serve([to_line(message) for message in messages], lines.append)
    return lines


@pytest.mark.parametrize(("state", "given"), [("", None), ("/state", "/state")])
def test_a_bundle_is_opened_with_the_state_that_was_said(
    monkeypatch: pytest.MonkeyPatch, state: str, given: str | None
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(module, "load", lambda *words, **options: asked.append((*words, options)))
    module.open_subject(Opening("bundle", "b", "tensorrt", state=state))
    assert asked == [("b", "tensorrt", {"state": given, "unjudged": True})]


def test_a_bundle_is_opened_timed_and_compared(tiny_bundle: Path, samples: str) -> None:
    lines = said(
        Opening("bundle", str(tiny_bundle), "fake"),
        Request("samples", path=samples),
        Request("one box", 1),
        Request("many boxes", 1, 32),
        Request("agreement"),
    )
    assert read_answer(ServedBy, lines[0], "x").backend == "fake"
    assert read_answer(Done, lines[1], "x") == Done()
    one, many = (read_answer(Measured, line, "x") for line in lines[2:4])
    assert one.timings.preprocess_ms > 0
    assert one.timings.encode_ms > 0
    assert (many.timings.preprocess_ms, many.timings.encode_ms) == (0, 0)
    assert many.timings.decode_ms > 0
    assert many.peak_mib >= one.peak_mib > 0
    assert read_answer(Agreement, lines[4], "x").dsc == (1.0,) * 5


class Counted:
    """Counts the images it encodes; its masks are empty."""

    served_by = ServedBy("x", "", "", "", {})

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.drawn: list[int] = []

    def segment(self, image: Image, boxes: Boxes) -> tuple[Masks, module.Timings]:
        self.encoded.append(len(boxes))
        return np.zeros((len(boxes), *image.shape[:2]), bool), module.Timings()

    def again(self, boxes: Boxes) -> tuple[Masks, module.Timings]:
        self.drawn.append(len(boxes))
        return np.ones((len(boxes), 64, 64), bool), module.Timings()


def test_masks_that_were_drawn_under_the_clock_are_not_drawn_again(samples: str) -> None:
    subject = Counted()
    worker = module.Worker(subject)
    worker.answer(Request("samples", path=samples))
    worker.answer(Request("one box", 0))
    worker.answer(Request("many boxes", 0, 2))  # fewer than the case has
    worker.answer(Request("many boxes", 0, 8))
    found = worker.answer(Request("agreement"))
    assert isinstance(found, Agreement)
    assert len(found.dsc) == 5
    assert min(found.dsc[:3]) > 0  # the full masks of `again`
    assert found.dsc[3:] == (0, 0)  # the empty ones of `segment`
    assert (subject.encoded, subject.drawn) == ([1, 2], [2, 8])


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_matrices_are_multiplied_as_often_as_asked(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library)
    monkeypatch.setattr("medsam_edge.benchmarks.worker.gemm.GEMM", (4, 3, 2))
    lines = said(Opening("gemm", library=library), Request("gemm"), Request("gemm"))
    assert len(lines) == 3
    assert all(read_answer(Measured, line, "x").timings.encode_ms > 0 for line in lines[1:])


def test_an_error_of_ours_is_an_answer_and_the_last_one(tmp_path: Path) -> None:
    (line,) = said(Opening("bundle", str(tmp_path), "fake"), Request("agreement"))
    with pytest.raises(BundleError, match="a bundle: a folder with"):
        read_answer(ServedBy, line, "x")


def test_no_memory_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "open_subject", full)
    with pytest.raises(DeviceMemoryError):
        read_answer(ServedBy, said(Opening("bundle"))[0], "x")


@pytest.mark.parametrize("line", ["hello\n", json.dumps({"kind": "bundle"}) + "\n"])
def test_a_request_that_nobody_understands_ends_the_worker(line: str) -> None:
    with pytest.raises(Exception, match=r"Expecting value|no such key"):  # noqa: PT012
        answers: list[str] = []
        serve([line], answers.append)
        raise ValueError(json.loads(answers[0])["error"]["found"])


def test_a_question_that_nobody_knows_ends_the_worker(tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="the weather"):
        said(Opening("bundle", str(tiny_bundle), "fake"), Request("the weather"))


def test_nothing_asked_is_nothing_answered() -> None:
    assert said() == []


def test_waiting_ends_when_the_threads_sleep_or_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter(float(tick) for tick in range(10**6))
    monkeypatch.setattr(module, "_LIMIT_S", 0.05)
    monkeypatch.setattr(module.time, "process_time", lambda: next(used))
    start = perf_counter()
    assert not module.quiet()
    assert perf_counter() - start >= 0.05
    monkeypatch.setattr(module.time, "process_time", lambda: 1.0)
    monkeypatch.setattr(module, "_STEP_S", 0.001)
    assert module.quiet()
