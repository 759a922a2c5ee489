"""The `quantize` verb: cases in, the cheapest precision that keeps the masks out, or a refusal with figures.

It joins the other modules of this folder in their order: what is wanted, encoders, the judgement on cases that nothing
was chosen by, the time on this machine, and the record.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ..runtime.backends.choose import resolve, status
from ..runtime.bundle import Bundle
from ..runtime.errors import UsageError
from ..runtime.loading import entry_of
from ..runtime.machine import processor_features, processor_name
from ..runtime.memory import peak_mib
from ..runtime.predictor import Predictor
from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.schema import to_json
from ..runtime.types import Progress
from .encoders import Encoders
from .judging import Judged, check_enough, judged, unbounded, unseen
from .memory import Memory
from .opened import opened
from .outcome import Candidate, Outcome
from .plan import Plan
from .record import Record
from .scores import NO_LIMITS, Limits
from .speed import Opener, Speed, upwards
from .three_sets import ThreeSets
from .trial import Trial
from .wanted import Wanted, wanted
from .work import Journal


def quantize(bundle: Bundle, cases: ThreeSets, plan: Plan, work: Path, progress: Progress) -> Outcome:
    """Find the cheapest precision of a target that keeps the masks, and write it into the bundle.

    Args:
        bundle: The opened bundle, with float32 graphs.
        cases: To find ranges, to choose by, to judge on.
        plan: What is asked for.
        work: A folder for the journal: a run that was stopped goes on from it, and a refusal is kept in it.
        progress: Told what is done, how much of it, and of how much.

    Returns:
        With `chosen` None if nothing cheaper passed and paid; the bundle then is as it was. `reused` if the same was
        asked before: then nothing is done.

    Raises:
        UsageError: int8 of a model whose weights lie beside its graph.
        CaseError: Too few patients to judge on; random weights are not judged.
        BundleError: The bundle has no float32 graph for the target.
        MissingExtraError: The target's library is not installed.
        MachineError: bf16 was asked for, and this processor or the library does not compute in it.
        StorageError: The journal or the bundle cannot be written.
    """
    choices = wanted(plan)
    _check_weights(bundle, plan, choices)
    if bundle.manifest.model.trained:
        check_enough(cases.evaluation)
    facts = _facts(bundle, cases, plan)
    journal = Journal(work, facts)
    record = Record(bundle, plan.target, {**facts, "plan": to_json(plan)}, journal)
    if (before := record.before()) is not None:
        return before
    run = _Run.of(bundle, cases, plan, journal, progress)
    outcome, encoder = run.outcome(choices)
    return record.keep(outcome, None if encoder is None else (encoder, run.encoders.entry.form))


def _check_weights(bundle: Bundle, plan: Plan, choices: Sequence[Wanted]) -> None:
    if entry_of(bundle, "encoder", resolve(plan.target)).weights and any(one.choice.graph != "fp32" for one in choices):
        found = "weights in a file beside their graph"
        raise UsageError("an encoder that fits into one ONNX file", found, "use --precision bf16 for this model")


def _facts(bundle: Bundle, cases: ThreeSets, plan: Plan) -> dict[str, object]:
    """Gather everything that a candidate's masks and times depend on."""
    choice = resolve(plan.target)
    graphs = {part: entry_of(bundle, part, choice).sha256 for part in ("encoder", "decoder")}
    return {
        "graphs": graphs,
        "profile": bundle.manifest.profile,
        "libraries": [f"{name} {status(name).version}" for name in sorted({plan.target, "onnxruntime"})],
        "processor": [processor_name(), os.cpu_count(), *processor_features()],
        "cases": cases.records(str(bundle.manifest.profile.get("name"))),
    }


@dataclass(frozen=True, eq=False)
class _Run:
    """One piece of work."""

    bundle: Bundle
    cases: ThreeSets
    plan: Plan
    trial: Trial
    encoders: Encoders
    memory: Memory

    @classmethod
    def of(cls, bundle: Bundle, cases: ThreeSets, plan: Plan, journal: Journal, progress: Progress) -> "_Run":
        """Open nothing yet."""
        trial = Trial(bundle, journal, cases.seed, progress)
        limits = plan.limits if bundle.manifest.model.trained else NO_LIMITS
        memory = Memory(bundle, cases.evaluation.refs[0].read())
        return cls(bundle, cases, plan, trial, Encoders(trial, cases, resolve(plan.target), limits), memory)

    @property
    def limits(self) -> Limits:
        return self.encoders.limits

    @property
    def base(self) -> Wanted:
        return Wanted(self.encoders.base)

    def outcome(self, choices: Sequence[Wanted]) -> tuple[Outcome, bytes | None]:
        """Try every choice, the widest first; the second is the graph of the chosen one, if it is a new one."""
        self.trial.answers(self.cases.selection, self.base.choice)
        self.trial.answers(self.cases.evaluation, self.base.choice)
        found = {choice: self._judged(choice) for choice in choices}
        speeds = self._speeds([choice for choice, one in found.items() if not one.objections])
        candidates = [self._candidate(choice, one, speeds.get(str(choice))) for choice, one in found.items()]
        best = next((one for one in reversed(candidates) if not one.objections and one.speed), None)
        marked = [replace(one, chosen=one is best) for one in candidates]
        chosen = next((choice for choice in choices if best is not None and str(choice) == str(best)), None)
        data = None if chosen is None else self.encoders.of(chosen).data
        return self._summed_up([self._float32(speeds), *marked]), data

    def _judged(self, one: Wanted) -> Judged:
        encoder = self.encoders.of(one)
        return judged(self.trial, self.cases.evaluation, one.choice, encoder, self.limits, self.cases.seed)

    def _speeds(self, choices: Sequence[Wanted]) -> dict[str, Speed]:
        """Time what keeps the limits; each has to beat the fastest that is wider."""
        if not choices:
            return {}
        openers = {str(one): self._opener(one) for one in (self.base, *choices)}
        image = next(iter(self.cases.evaluation)).image
        inputs = encoder_inputs(Profile.from_dict(self.bundle.manifest.profile), image)
        return upwards(openers, inputs, self.plan.rounds, self.plan.margin, self.trial.progress)

    def _opener(self, one: Wanted) -> Opener:
        def enter(stack: ExitStack) -> Predictor:
            return stack.enter_context(opened(self.bundle, one.choice, self.encoders.of(one).data))

        return enter

    def _candidate(self, choice: Wanted, one: Judged, speed: Speed | None) -> Candidate:
        encoder, objections = self.encoders.of(choice), one.objections
        if speed is not None and not speed.pays(self.plan.margin):
            objections += (f"{speed}; it has to be {self.plan.margin} times, and its interval above 1",)
        taken = None if speed is None else speed.median_ms
        return Candidate(
            backend=str(choice.choice),
            bytes=encoder.bytes,
            memory_bytes=self._memory(choice, encoder.data) if one.drop else None,
            recipe=encoder.recipe,
            kept_float=encoder.kept_float,
            drop=one.drop,
            median_ms=taken,
            speed=speed,
            objections=objections,
            attention=choice.attention,
        )

    def _float32(self, speeds: Mapping[str, Speed]) -> Candidate:
        """Its time is of its first run by turns, against the widest candidate."""
        taken = next((one.against_ms for one in speeds.values() if one.against == str(self.base)), None)
        memory = self._memory(self.base, None)
        return Candidate(str(self.base), self.encoders.of(self.base).bytes, memory, "", (), None, taken, None, ())

    def _memory(self, choice: Wanted, encoder: bytes | None) -> int | None:
        self.trial.progress(f"memory of {choice}", 0, 1)
        return self.memory.of(choice.choice, encoder)

    def _summed_up(self, candidates: Sequence[Candidate]) -> Outcome:
        int8 = self.encoders.searched
        drops = [one.drop for one in candidates if one.drop is not None]
        gating = self.bundle.manifest.model.trained
        return Outcome(
            bundle=str(self.bundle.root),
            digest=self.bundle.manifest.digest,
            target=self.plan.target,
            gating=gating,
            limits=self.limits,
            margin=self.plan.margin,
            warnings=(*self.cases.warnings, *(unbounded(self.cases.evaluation) if gating else ())),
            recipes=int8.rows if int8 else (),
            sensitivities=int8.found.sensitivities if int8 else (),
            tried=int8.found.tried if int8 else (),
            layers=int8.layers if int8 else (),
            candidates=tuple(candidates),
            notes=(
                *self.trial.journal.notes,
                *self.memory.notes,
                *(unseen(self.cases.evaluation, drops) if gating else ()),
            ),
            peak_mib=peak_mib(),
            reused=False,
            chosen=next((one.backend for one in candidates if one.chosen), None),
        )
