"""Chooses the int8 graph by the masks of the selection cases: first how ranges are taken, then which blocks stay float.

It runs graphs through a `Trial` and holds nothing against the cases of the judgement.
"""

from dataclasses import dataclass, replace
from functools import partial

from ..runtime.backends.base import BackendChoice
from ..runtime.errors import ParityError
from .case_set import CaseSet
from .int8_graphs import RECIPES, Int8Graphs, Recipe
from .outcome import LayerDecision, RecipeRow
from .scores import NOTHING_LEFT, Drop, Limits, summed
from .search import Found, search
from .trial import Trial


@dataclass(frozen=True, eq=False)
class Int8Choice:
    """The int8 graph that the search settled on, and how it came to it.

    Attributes:
        data: The ONNX file with attention in float; empty where no way to choose ranges gives masks.
        with_attention: The one with all in int8 but what has to stay float.
        attention: The blocks of attention's products, which `data` keeps in float.
        recipe: How its ranges were chosen, or None.
        rows: Every way to choose ranges.
        found: The blocks; with `kept_float` None, `data` has all blocks in int8 and is of no use.
        layers: What became of each layer; empty where no choice keeps the limits.
    """

    data: bytes
    with_attention: bytes
    attention: frozenset[str]
    recipe: Recipe | None
    rows: tuple[RecipeRow, ...]
    found: Found
    layers: tuple[LayerDecision, ...] = ()


@dataclass(frozen=True, eq=False)
class _Selection:
    graphs: Int8Graphs
    trial: Trial
    cases: CaseSet
    choice: BackendChoice

    def row(self, recipe: Recipe) -> RecipeRow:
        try:
            drop = self._drop(self.graphs.graph(recipe))
        except ParityError as error:
            return RecipeRow(str(recipe), None, None, error.found)
        return RecipeRow(str(recipe), drop.mean_parity, drop.mean_drop)

    def with_float(self, recipe: Recipe, kept: frozenset[str]) -> Drop:
        try:
            return self._drop(self.graphs.graph(recipe, kept))
        except ParityError:
            return NOTHING_LEFT

    def _drop(self, encoder: bytes) -> Drop:
        return summed(self.trial.scores(self.cases, self.choice, encoder))


def chosen_int8(graphs: Int8Graphs, trial: Trial, cases: CaseSet, base: BackendChoice, limits: Limits) -> Int8Choice:
    """Choose the ranges whose masks agree best with the float32 masks, then the fewest blocks in float.

    Args:
        graphs: What int8 graphs are made by.
        trial: Where the float32 graph has answered `cases`.
        cases: To choose by.
        base: The float32 backend; the graph is chosen with what is not int8 in float32.
        limits: What may be lost on the cases of the judgement.
    """
    selection = _Selection(graphs, trial, cases, replace(base, graph="int8"))
    rows = tuple(selection.row(recipe) for recipe in RECIPES)
    parities = {recipe: row.mean_parity for recipe, row in zip(RECIPES, rows, strict=True)}
    usable = {recipe: parity for recipe, parity in parities.items() if parity is not None}
    if not usable:
        return Int8Choice(b"", b"", frozenset(), None, rows, Found(None, (), ()))
    recipe = max(usable, key=lambda one: usable[one])
    found = search(graphs.blocks, partial(selection.with_float, recipe), limits)
    kept, attention = found.kept_float or frozenset(), frozenset(one.block for one in graphs.products)
    wide, narrow = graphs.graph(recipe, kept | attention), graphs.graph(recipe, kept)
    layers = () if found.kept_float is None else graphs.decisions(recipe, kept)
    return Int8Choice(wide, narrow, attention, recipe, rows, found, layers)
