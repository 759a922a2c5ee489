"""The `quantize` verb: cases in, the cheapest precision that keeps the masks out, or a refusal with figures.

It joins the other modules of this folder in their order: cases, ranges, recipes, blocks, the judgement on cases that
nothing was chosen by, the time on this machine, and the commit.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import onnx

from ..runtime.backends.base import BackendChoice
from ..runtime.backends.choose import resolve, status
from ..runtime.bundle import Bundle
from ..runtime.errors import ParityError, UsageError
from ..runtime.loading import entry_of
from ..runtime.machine import processor_features, processor_name
from ..runtime.manifest import GraphEntry
from ..runtime.predictor import Predictor
from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.schema import to_json
from .case_set import CaseSet
from .commit import committed
from .document import earlier, new_document
from .int8_graphs import RECIPES, Int8Graphs, Recipe
from .memory import Memory
from .opened import opened
from .outcome import Candidate, LayerDecision, Outcome, RecipeRow
from .plan import Plan
from .scores import NOTHING_LEFT, Drop, Limits, summed
from .search import Found, search
from .speed import Speed, compared, interleaved
from .three_sets import ThreeSets
from .trial import Progress, Trial
from .work import Journal


def quantize(bundle: Bundle, cases: ThreeSets, plan: Plan, work: Path, progress: Progress) -> Outcome:
    """Find the cheapest precision of a target that keeps the masks, and write it into the bundle.

    Args:
        bundle: The opened bundle, with float32 graphs.
        cases: To find ranges, to choose by, to judge on.
        plan: What is asked for.
        work: A folder for the journal: a run that was stopped goes on from it.
        progress: Told what is done, how much of it, and of how much.

    Returns:
        With `chosen` None if nothing cheaper passed and paid; the bundle then is as it was.

    Raises:
        BundleError: The bundle has no float32 graph for the target.
        MissingExtraError: The target's library is not installed.
        StorageError: The journal or the bundle cannot be written.
    """
    resolve(plan.target)
    if entry_of(bundle, "encoder", resolve(plan.target)).weights and plan.precision != "bf16":
        found = "weights in a file beside their graph"
        raise UsageError("an encoder that fits into one ONNX file", found, "use --precision bf16 for this model")
    facts = _facts(bundle, cases, plan)
    key = {**facts, "plan": to_json(plan)}
    if (before := earlier(bundle, plan.target, key)) is not None:
        return before
    return _Run(bundle, cases, plan, key, Journal(work, facts), progress).outcome()


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
class _Int8:
    """The int8 graph that the search settled on, and how it came to it."""

    data: bytes
    recipe: Recipe | None
    rows: tuple[RecipeRow, ...]
    found: Found
    layers: tuple[LayerDecision, ...] = ()


@dataclass(frozen=True)
class _Judged:
    """What a candidate loses on the evaluation cases, or None, and what speaks against it."""

    drop: Drop | None
    objections: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Run:
    """One piece of work; what is computed once is a cached property."""

    bundle: Bundle
    cases: ThreeSets
    plan: Plan
    key: dict[str, object]
    journal: Journal
    progress: Progress

    def outcome(self) -> Outcome:
        self.trial.answers(self.cases.selection, self.base)
        self.trial.answers(self.cases.evaluation, self.base)
        judged = {choice: self._judged(choice) for choice in self._wanted()}
        speeds = self._speeds([choice for choice, one in judged.items() if not one.objections])
        candidates = tuple(self._candidate(choice, one, speeds.get(choice)) for choice, one in judged.items())
        best = _best(candidates)
        marked = tuple(replace(one, chosen=one is best) for one in candidates)
        return self._written(self._summed_up((self._float32(), *marked)))

    @cached_property
    def base(self) -> BackendChoice:
        return resolve(self.plan.target)

    @cached_property
    def trial(self) -> Trial:
        return Trial(self.bundle, self.journal, self.cases.seed, self.progress)

    @cached_property
    def memory(self) -> Memory:
        return Memory(self.bundle, self.cases.evaluation.refs[0].read())

    @cached_property
    def entry(self) -> GraphEntry:
        return entry_of(self.bundle, "encoder", self.base)

    @cached_property
    def graphs(self) -> Int8Graphs:
        model = onnx.load(self.bundle.root / self.entry.file)
        return Int8Graphs(model, self.profile, self.cases.calibration, self.journal, self.progress)

    @property
    def profile(self) -> Profile:
        return Profile.from_dict(self.bundle.manifest.profile)

    @cached_property
    def int8(self) -> _Int8:
        """Choose a recipe by the masks of the selection cases, then the blocks that stay float."""
        rows = tuple(self._recipe_row(recipe) for recipe in RECIPES)
        usable = [
            (row.mean_parity, recipe) for row, recipe in zip(rows, RECIPES, strict=True) if row.mean_parity is not None
        ]
        if not usable:
            return _Int8(b"", None, rows, Found(None, (), ()))
        recipe = max(usable, key=lambda pair: pair[0])[1]
        found = search(self.graphs.blocks, partial(self._with_float, recipe), self.limits)
        kept = found.kept_float or frozenset()
        layers = () if found.kept_float is None else self.graphs.decisions(recipe, kept)
        return _Int8(self.graphs.graph(recipe, kept), recipe, rows, found, layers)

    @property
    def limits(self) -> Limits:
        return self.plan.limits if self.bundle.manifest.model.trained else Limits(1, 1)

    def _wanted(self) -> Iterator[BackendChoice]:
        bf16 = self.plan.target == "openvino" and {"avx512_bf16", "amx_bf16"} & set(processor_features())
        if self.plan.precision == "bf16" or (self.plan.precision == "auto" and bf16):
            yield replace(self.base, precision="bf16")
        if self.plan.precision != "bf16":
            yield replace(self.base, graph="int8")
            if bf16:
                yield replace(self.base, graph="int8", precision="bf16")

    def _recipe_row(self, recipe: Recipe) -> RecipeRow:
        try:
            drop = self._drop(self.cases.selection, replace(self.base, graph="int8"), self.graphs.graph(recipe))
        except ParityError as error:
            return RecipeRow(str(recipe), None, None, error.found)
        return RecipeRow(str(recipe), drop.mean_parity, drop.mean_drop)

    def _with_float(self, recipe: Recipe, kept: frozenset[str]) -> Drop:
        graph = self.graphs.graph(recipe, kept)
        try:
            return self._drop(self.cases.selection, replace(self.base, graph="int8"), graph)
        except ParityError:
            return NOTHING_LEFT

    def _drop(self, cases: CaseSet, choice: BackendChoice, encoder: bytes | None) -> Drop:
        return summed(self.trial.scores(cases, choice, encoder), self.cases.seed)

    def _encoder(self, choice: BackendChoice) -> bytes | None:
        return self.int8.data if choice.graph == "int8" else None

    def _judged(self, choice: BackendChoice) -> _Judged:
        if choice.graph == "int8" and self.int8.found.kept_float is None:
            return _Judged(None, ("no choice of blocks keeps the limits on the selection cases",))
        try:
            drop = self._drop(self.cases.evaluation, choice, self._encoder(choice))
        except ParityError as error:
            return _Judged(None, (f"no usable masks: {error.found}",))
        return _Judged(drop, drop.objections(self.limits))

    def _speeds(self, choices: Sequence[BackendChoice]) -> dict[BackendChoice, Speed]:
        """Time what keeps the limits beside float32; each has to beat the fastest that is wider."""
        if not choices:
            return {}
        names = {str(choice): choice for choice in (self.base, *choices)}
        openers = {name: partial(self._opener, choice) for name, choice in names.items()}
        image = next(iter(self.cases.evaluation)).image
        tell = lambda done, count: self.progress("timing", done, count)  # noqa: E731
        taken = interleaved(openers, encoder_inputs(self.profile, image), self.plan.rounds, tell)
        found: dict[BackendChoice, Speed] = {}
        widest = str(self.base)
        for choice in choices:
            found[choice] = compared(taken, str(choice), widest)
            widest = str(choice) if found[choice].pays(self.plan.margin) else widest
        return found

    def _opener(self, choice: BackendChoice, stack: ExitStack) -> Predictor:
        return stack.enter_context(opened(self.bundle, choice, self._encoder(choice)))

    def _candidate(self, choice: BackendChoice, judged: _Judged, speed: Speed | None) -> Candidate:
        int8 = choice.graph == "int8"
        kept = tuple(sorted(self.int8.found.kept_float or ())) if int8 else ()
        objections = judged.objections
        if speed is not None and not speed.pays(self.plan.margin):
            objections += (f"{speed.times:.2f} times as fast as {speed.against} (margin {self.plan.margin})",)
        size, recipe = (len(self.int8.data), str(self.int8.recipe or "")) if int8 else (self._float_bytes, "")
        memory = self._memory(choice) if judged.drop else None
        return Candidate(str(choice), size, memory, recipe, kept, judged.drop, speed, objections)

    def _float32(self) -> Candidate:
        return Candidate(str(self.base), self._float_bytes, self._memory(self.base), "", (), None, None, ())

    def _memory(self, choice: BackendChoice) -> int | None:
        self.progress(f"memory of {choice}", 0, 1)
        return self.memory.of(choice, self._encoder(choice))

    @property
    def _float_bytes(self) -> int:
        return self.entry.bytes + sum(weights.bytes for weights in self.entry.weights)

    def _summed_up(self, candidates: tuple[Candidate, ...]) -> Outcome:
        int8 = self.int8 if self.plan.precision != "bf16" else None
        return Outcome(
            bundle=str(self.bundle.root),
            digest=self.bundle.manifest.digest,
            target=self.plan.target,
            gating=self.bundle.manifest.model.trained,
            limits=self.limits,
            margin=self.plan.margin,
            warnings=self.cases.warnings,
            recipes=int8.rows if int8 else (),
            sensitivities=int8.found.sensitivities if int8 else (),
            tried=int8.found.tried if int8 else (),
            layers=int8.layers if int8 else (),
            candidates=candidates,
            notes=(*self.journal.notes, *self.memory.notes),
            reused=False,
            chosen=next((one.backend for one in candidates if one.chosen), None),
        )

    def _written(self, outcome: Outcome) -> Outcome:
        """Commit what was chosen; a refusal leaves the bundle as it was."""
        if outcome.chosen is None:
            return outcome
        graph = (self.int8.data, self.entry.form) if "int8" in outcome.chosen else None
        manifest = committed(self.bundle, self.plan.target, graph, new_document(self.key, outcome))
        return replace(outcome, digest=manifest.digest)


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the last that passes: each has beaten the ones before it."""
    return next((one for one in reversed(candidates) if not one.objections and one.speed), None)
