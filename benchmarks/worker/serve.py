"""A worker's conversation: open what is asked for, then time one request after the other.

Before each answer the process waits until its own threads sleep. Inference libraries let them spin for a while after a
call, in the hope of the next one (up to 0.1 s was seen), and would slow down whoever is measured next.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from ...runtime.errors import DeviceMemoryError, MedSAMEdgeError
from ...runtime.loading import load
from ...runtime.memory import peak_mib
from ...runtime.metrics import dice
from ...runtime.predictor import ServedBy, Timings
from ...runtime.profile import Profile
from ...runtime.types import Masks
from .gemm import gemm
from .messages import Agreement, Done, Measured, Opening, Request, answer_line, from_line
from .samples import Sample, read_samples
from .subjects import BundleSubject, Subject

_STEP_S, _LIMIT_S, _ASLEEP = 0.02, 1.0, 0.1


def serve(lines: Iterable[str], send: Callable[[str], None]) -> None:
    """Answer each line.

    Args:
        lines: An `Opening`, then `Request`s.
        send: Takes each answer, a line.
    """
    said = answers(iter(lines))
    while True:
        try:
            answer = next(said, None)
        except MedSAMEdgeError as error:
            send(answer_line(error))
            return
        except MemoryError:
            send(answer_line(DeviceMemoryError("enough memory", "the system refused to give more", "free some")))
            return
        if answer is None:
            return
        send(answer_line(answer))


def answers(lines: Iterator[str]) -> Iterator[object]:
    """Yield the answer to each line; the first opens the candidate.

    Raises:
        MedSAMEdgeError: Whatever opening and running it raise.
    """
    first = next(lines, None)
    if first is None:  # whoever started this has changed its mind
        return
    opening = from_line(Opening, first)
    if opening.kind == "gemm":
        multiply = gemm(opening.library)
        yield Done()
        for _ in lines:
            yield measured(Timings(encode_ms=multiply()))
        return
    worker = Worker(open_subject(opening))
    yield worker.served_by
    for line in lines:
        yield worker.answer(from_line(Request, line))


def open_subject(opening: Opening) -> Subject:
    """Open a candidate.

    Raises:
        MedSAMEdgeError: Whatever opening a bundle or a checkpoint raises.
    """
    if opening.kind == "bundle":
        return BundleSubject(load(opening.bundle, opening.backend, state=opening.state or None, unjudged=True))
    from .upstream import Upstream  # needs PyTorch

    return Upstream(Path(opening.weights), Profile.from_dict(opening.profile))


class Worker:
    """An opened candidate and the samples it is measured on."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._samples: tuple[Sample, ...] = ()
        self._dsc: dict[int, list[float]] = {}  # by sample; masks drawn under the clock need not be drawn again

    @property
    def served_by(self) -> ServedBy:
        """What computes."""
        return self._subject.served_by

    def answer(self, request: Request) -> object:
        """Do what is asked."""
        match request.ask:
            case "samples":
                self._samples = read_samples(Path(request.path))
                quiet()
                return Done()
            case "one box":
                sample = self._samples[request.sample]
                return measured(self._subject.segment(sample.image, sample.boxes[:1])[1])
            case "many boxes":
                return measured(self._many(request.sample, request.count))
            case "agreement":
                found = [self._agreement(index) for index in range(len(self._samples))]
                return Agreement(tuple(value for values in found for value in values))
        raise ValueError(request.ask)

    def _many(self, index: int, count: int) -> Timings:
        sample = self._samples[index]
        masks, timings = self._subject.again(np.resize(sample.boxes, (count, 4)))
        if count >= len(sample.boxes):
            self._dsc[index] = _dice(masks, sample.masks)
        return timings

    def _agreement(self, index: int) -> list[float]:
        if index not in self._dsc:
            sample = self._samples[index]
            self._dsc[index] = _dice(self._subject.segment(sample.image, sample.boxes)[0], sample.masks)
        return self._dsc[index]


def measured(timings: Timings) -> Measured:
    """Complete an answer; its figures were taken before the wait."""
    return Measured(timings, peak_mib(), quiet())


def quiet() -> bool:
    """Wait until the threads of this process sleep, at most a second, and tell whether they do."""
    end = time.perf_counter() + _LIMIT_S
    while time.perf_counter() < end:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(_STEP_S)
        if time.process_time() - used < _ASLEEP * (time.perf_counter() - start):
            return True
    return False


def _dice(masks: Masks, others: Masks) -> list[float]:
    return [dice(mine, other) for mine, other in zip(masks[: len(others)], others, strict=True)]
