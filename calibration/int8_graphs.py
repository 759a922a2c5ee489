"""Makes int8 graphs of one float32 encoder: which blocks stay float, how ranges are chosen, with or without balancing.

Statistics are gathered once for all of them, some images at a time, so that a run that was stopped goes on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import onnx
from onnx import helper

from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.types import AnyArray, Progress
from .balance import balanced
from .case_set import CaseRef, CaseSet
from .layers import Layer, quantisable
from .observe import observed
from .outcome import LayerDecision
from .products import Product, products
from .qdq import Factors, Style, quantised
from .ranges import METHODS, scale_of, unsigned_scale_of
from .tensor_statistics import Statistics, from_arrays, merged, to_arrays
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
        style: How activations are written.
        attention: Whether products of attention can run in int8 too; their blocks then stand behind all others.
    """

    model: onnx.ModelProto
    profile: Profile
    cases: CaseSet
    journal: Journal
    progress: Progress
    style: Style = Style.SIGNED
    attention: bool = False

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer that can run in int8."""
        return quantisable(self.model)

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """What can be kept in float by itself, in the graph's order."""
        layers, products = (one.block for one in self.layers), (one.block for one in self.products)
        return tuple(dict.fromkeys((*layers, *products)))

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """Every product of attention that can run in int8."""
        return products(self.model) if self.attention else ()

    def graph(self, recipe: Recipe, kept_float: frozenset[str] = frozenset()) -> bytes:
        """Return the ONNX file with all blocks in int8 but some."""
        model, scales = self.scaled(recipe, kept_float)
        made = quantised(model, scales, self._factors(recipe, kept_float), self.style)
        onnx.checker.check_model(made)
        data: bytes = made.SerializeToString(deterministic=True)
        return data

    def decisions(self, recipe: Recipe, kept_float: frozenset[str]) -> tuple[LayerDecision, ...]:
        """Tell what `graph` made of each layer, in the graph's order."""
        scales = self.scaled(recipe, kept_float)[1]
        return tuple(LayerDecision(layer.name, layer.block, scales.get(layer.name)) for layer in self.layers)

    def scaled(
        self, recipe: Recipe, kept_float: frozenset[str] = frozenset()
    ) -> tuple[onnx.ModelProto, dict[str, float]]:
        """Return the float graph that a recipe quantises, and the scales of the layers outside some blocks."""
        model, statistics = self._balanced if recipe.balance else (self.model, self._statistics)
        layers = [layer for layer in quantisable(model) if layer.block not in kept_float]
        method = METHODS[recipe.method]
        return model, {layer.name: scale_of(method(statistics[layer.input])) for layer in layers}

    def _factors(self, recipe: Recipe, kept_float: frozenset[str]) -> dict[str, Factors]:
        """Balancing leaves queries, keys and values as they are, so the statistics are those of the graph as it is."""
        method = METHODS[recipe.method]
        chosen = [product for product in self.products if product.block not in kept_float]
        found = self._product_statistics if chosen else {}
        return {
            one.output: Factors(
                unsigned_scale_of(found[_peak(one.left)].peak) if one.of_softmax else scale_of(method(found[one.left])),
                scale_of(method(found[one.right])),
            )
            for one in chosen
        }

    @cached_property
    def _product_statistics(self) -> dict[str, Statistics]:
        """Of a softmax only its largest value: it is the largest tensor of all, and its range begins at 0."""
        softmaxes = sorted({product.left for product in self.products if product.of_softmax})
        others = {name for one in self.products for name in (one.left, one.right)} - set(softmaxes)
        tensors = sorted({*others, *map(_peak, softmaxes)})
        return self._observed(_with_peaks(self.model, softmaxes), "of attention", tensors)

    @cached_property
    def _statistics(self) -> dict[str, Statistics]:
        return self._observed(self.model, "as it is", _inputs(self.layers))

    @cached_property
    def _balanced(self) -> tuple[onnx.ModelProto, dict[str, Statistics]]:
        peaks: Mapping[str, AnyArray] = {layer.name: self._statistics[layer.input].peaks for layer in self.layers}
        model = balanced(self.model, peaks, ALPHA)
        return model, self._observed(model, f"balanced by {ALPHA}", _inputs(quantisable(model)))

    def _observed(self, model: onnx.ModelProto, form: str, tensors: Sequence[str]) -> dict[str, Statistics]:
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


def _inputs(layers: Iterable[Layer]) -> list[str]:
    return sorted({layer.input for layer in layers})


def _peak(tensor: str) -> str:
    return f"{tensor}/peak"


def _with_peaks(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of the graph that makes the largest value of some tensors as well."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node.extend(helper.make_node("ReduceMax", [name], [_peak(name)], name=_peak(name)) for name in tensors)
    return made


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
