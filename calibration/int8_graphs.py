"""Makes int8 graphs of one float32 encoder: which blocks stay float, how ranges are chosen, with or without balancing.

Statistics are gathered once for all of them, some images at a time, so that a run that was stopped goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import onnx

from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.types import AnyArray
from .balance import balanced
from .case_set import CaseRef, CaseSet
from .layers import Layer, quantisable
from .observe import observed
from .qdq import quantised
from .ranges import METHODS, scale_of
from .tensor_statistics import Statistics, from_arrays, merged, to_arrays
from .trial import Progress
from .work import Entry, Journal

CHUNK = 8
"""Images between two entries of the journal."""
ALPHA = 0.5
"""SmoothQuant's own choice for most models."""


@dataclass(frozen=True)
class Recipe:
    """How scales are chosen: a method of `ranges.METHODS`, on a graph that was balanced before or not."""

    method: str
    balance: bool = False

    def __str__(self) -> str:
        return f"{self.method}, balanced" if self.balance else self.method


RECIPES = (*map(Recipe, METHODS), Recipe("min-max", balance=True), Recipe("percentile-99.99", balance=True))


@dataclass(frozen=True, eq=False)
class Int8Graphs:
    """Int8 forms of a float32 encoder.

    Attributes:
        model: The encoder; it is not changed.
        profile: What its images are prepared by.
        cases: What its ranges are observed on.
        journal: Where statistics are kept.
        progress: As `Trial.progress`.
    """

    model: onnx.ModelProto
    profile: Profile
    cases: CaseSet
    journal: Journal
    progress: Progress

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer that can run in int8."""
        return quantisable(self.model)

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Their blocks, in the graph's order."""
        return tuple(dict.fromkeys(layer.block for layer in self.layers))

    def graph(self, recipe: Recipe, kept_float: frozenset[str] = frozenset()) -> bytes:
        """Return the ONNX file with all blocks in int8 but some."""
        made = quantised(*self.scaled(recipe, kept_float))
        onnx.checker.check_model(made)
        data: bytes = made.SerializeToString(deterministic=True)
        return data

    def scaled(
        self, recipe: Recipe, kept_float: frozenset[str] = frozenset()
    ) -> tuple[onnx.ModelProto, dict[str, float]]:
        """Return the float graph that a recipe quantises, and the scales of the layers outside some blocks."""
        model, statistics = self._balanced if recipe.balance else (self.model, self._statistics)
        layers = [layer for layer in quantisable(model) if layer.block not in kept_float]
        method = METHODS[recipe.method]
        return model, {layer.name: scale_of(method(statistics[layer.input])) for layer in layers}

    @cached_property
    def _statistics(self) -> dict[str, Statistics]:
        return self._observed(self.model, "as it is")

    @cached_property
    def _balanced(self) -> tuple[onnx.ModelProto, dict[str, Statistics]]:
        peaks: Mapping[str, AnyArray] = {layer.name: self._statistics[layer.input].peaks for layer in self.layers}
        model = balanced(self.model, peaks, ALPHA)
        return model, self._observed(model, f"balanced by {ALPHA}")

    def _observed(self, model: onnx.ModelProto, form: str) -> dict[str, Statistics]:
        tensors = sorted({layer.input for layer in quantisable(model)})
        refs = self.cases.refs
        parts = []
        for start in range(0, len(refs), CHUNK):
            some = refs[start : start + CHUNK]
            self.progress(f"ranges of the graph {form}", start, len(refs))
            parts.append(self._once(model, form, tensors, some))
        return {name: merged(*(part[name] for part in parts)) for name in tensors}

    def _once(
        self, model: onnx.ModelProto, form: str, tensors: Sequence[str], refs: Sequence[CaseRef]
    ) -> dict[str, Statistics]:
        pixels = sha256(" ".join(ref.pixel_sha256 for ref in refs).encode("ascii")).hexdigest()
        feeds = EncoderFeeds(self.profile, refs)
        entry = self.journal.once(
            f"ranges {form} {pixels}", lambda: Entry(arrays=to_arrays(observed(model, tensors, feeds)))
        )
        return from_arrays(entry.arrays)


@dataclass(frozen=True)
class EncoderFeeds:
    """Encoder inputs, made anew each time that they are gone through.

    Attributes:
        profile: What images are prepared by.
        refs: Where the images are.
    """

    profile: Profile
    refs: Sequence[CaseRef]

    def __len__(self) -> int:
        return len(self.refs)

    def __iter__(self) -> Iterator[Mapping[str, AnyArray]]:
        return (encoder_inputs(self.profile, ref.read().image) for ref in self.refs)
