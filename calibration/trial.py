"""Runs an encoder's graph that is in no bundle yet, beside the bundle's decoder, and holds its masks against float32's.

Every result goes through the journal, case by case, so that a run that was stopped goes on where it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256

import numpy as np

from ..runtime.backends.base import BackendChoice
from ..runtime.bundle import Bundle
from ..runtime.loading import entry_of
from ..runtime.metrics import dice
from ..runtime.predictor import Predictor
from ..runtime.types import Case, Masks, Progress
from .case_set import CaseRef, CaseSet
from .jitter import with_jitter
from .opened import opened
from .scores import MaskScore
from .work import Entry, Journal

# Opens an encoder's file, or with None the bundle's own, beside the bundle's decoder.
Opener = Callable[[Bundle, BackendChoice, "bytes | None"], AbstractContextManager[Predictor]]


@dataclass(frozen=True, eq=False)
class Trial:
    """What every candidate of a target is tried with.

    Attributes:
        bundle: Its decoder, profile and float32 encoder.
        journal: Where results are kept.
        seed: What prompts are drawn with.
        progress: Told what is done, how many cases of it, and of how many.
        opener: Opens what is tried; None is `opened`, and `emulation.emulated` is for a target that is not this
            machine. Results of two openers are not kept apart: each needs a journal of its own key.
    """

    bundle: Bundle
    journal: Journal
    seed: int
    progress: Progress
    opener: Opener | None = None

    def scores(self, cases: CaseSet, choice: BackendChoice, encoder: bytes | None = None) -> tuple[MaskScore, ...]:
        """Score every mask of a candidate.

        Args:
            cases: Cases with reference masks.
            choice: The backend, with the precision of the graph.
            encoder: The candidate's ONNX file, or None for the bundle's own.

        Raises:
            ParityError: If the candidate answers with NaN.
        """
        name = sha256(encoder).hexdigest() if encoder is not None else entry_of(self.bundle, "encoder", choice).sha256
        found: list[MaskScore] = []
        with _lazily((self.opener or opened)(self.bundle, choice, encoder)) as candidate:
            for done, ref in enumerate(cases.refs):
                self.progress(f"{choice} on {ref.id}", done, len(cases))
                entry = self.journal.once(f"scores {name} {choice} {_key(ref)}", partial(self._scored, candidate, ref))
                found += _scores(ref, entry)
        return tuple(found)

    def answers(self, cases: CaseSet, choice: BackendChoice) -> None:
        """Have the float32 graph answer every case, which `scores` compares with."""
        with _lazily((self.opener or opened)(self.bundle, choice, None)) as predictor:
            for done, ref in enumerate(cases.refs):
                self.progress(f"float32 on {ref.id}", done, len(cases))
                self.journal.once(_float32(ref), partial(self._answered, predictor, ref))

    def _case(self, ref: CaseRef) -> Case:
        return with_jitter(ref.read(), self.seed)

    def _answered(self, predictor: Callable[[], Predictor], ref: CaseRef) -> Entry:
        case = self._case(ref)
        masks = predictor().segment(case.image, case.boxes).masks
        return Entry(_against(masks, case), {"masks": np.packbits(masks)})

    def _scored(self, candidate: Callable[[], Predictor], ref: CaseRef) -> Entry:
        answer = self.journal.find(_float32(ref))
        assert answer is not None, "`answers` comes first"
        case = self._case(ref)
        masks = candidate().segment(case.image, case.boxes).masks
        theirs = _unpacked(answer, masks.shape)
        parity = [dice(one, other) for one, other in zip(masks, theirs, strict=True)]
        return Entry({"parity": parity, "dsc": _against(masks, case), "float32": answer.value})


def _against(masks: Masks, case: Case) -> list[float]:
    assert case.masks is not None, "a case set has cases with masks only"
    return [dice(one, reference) for one, reference in zip(masks, case.masks, strict=True)]


def _unpacked(answer: Entry, shape: Sequence[int]) -> Masks:
    bits = np.unpackbits(answer.arrays["masks"], count=int(np.prod(shape)))
    masks: Masks = bits.reshape(tuple(shape)).astype(np.bool_)
    return masks


def _scores(ref: CaseRef, entry: Entry) -> Iterator[MaskScore]:
    assert isinstance(entry.value, Mapping)
    columns = (entry.value[name] for name in ("parity", "dsc", "float32"))
    for parity, dsc, before in zip(*columns, strict=True):
        yield MaskScore(ref.id, ref.patient, ref.modality, float(parity), float(before) - float(dsc))


def _key(ref: CaseRef) -> str:
    return f"{ref.id} {ref.pixel_sha256}"


def _float32(ref: CaseRef) -> str:
    return f"float32 {_key(ref)}"


@contextmanager
def _lazily(predictor: AbstractContextManager[Predictor]) -> Iterator[Callable[[], Predictor]]:
    """Open a predictor when it is first asked for: a run whose results are all in the journal opens none."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(predictor))
