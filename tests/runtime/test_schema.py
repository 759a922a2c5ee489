import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medsam_edge.runtime.errors import BundleError
from medsam_edge.runtime.schema import from_json, omitted, to_json


@dataclass(frozen=True)
class Leaf:
    name: str
    size: float


@dataclass(frozen=True)
class Tree:
    count: int
    flag: bool
    note: str | None
    leaves: tuple[Leaf, ...]
    pair: tuple[int, str]
    axis: tuple[int | str, ...]
    scores: dict[str, float]
    free: dict[str, object]
    crown: Leaf | None


TREE = Tree(3, True, None, (Leaf("a", 0.5), Leaf("b", 2.0)), (1, "x"), (1, "N"), {"k": 1.5}, {"z": [1, {}]}, None)
GOOD = json.loads(json.dumps(to_json(TREE)))


def test_a_dataclass_survives_the_way_through_json() -> None:
    assert from_json(Tree, GOOD) == TREE


def test_the_keys_keep_the_order_of_the_fields() -> None:
    assert list(to_json(TREE))[:3] == ["count", "flag", "note"]


def test_a_json_integer_is_a_float_where_a_float_is_declared() -> None:
    leaf = from_json(Leaf, {"name": "a", "size": 2})
    assert type(leaf.size) is float


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("count", True, "tree.count"),
        ("count", 3.0, "tree.count"),
        ("flag", 1, "tree.flag"),
        ("note", 7, "tree.note"),
        ("leaves", {}, "tree.leaves"),
        ("leaves", [{"name": "a", "size": 1.0}, {"name": 5, "size": 1.0}], r"tree.leaves\[1\].name"),
        ("leaves", [{"name": "a", "size": True}], r"tree.leaves\[0\].size"),
        ("pair", [1], "tree.pair"),
        ("pair", ["x", 1], r"tree.pair\[0\]"),
        ("axis", [1.5], r"tree.axis\[0\] to be int or str"),
        ("scores", {"k": "high"}, "tree.scores.k"),
        ("scores", {"k": math.nan}, "tree.scores.k"),
        ("scores", {"k": 10**400}, "tree.scores.k"),
        ("scores", [], "tree.scores"),
        ("free", {"deep": [{"x": math.inf}]}, r"tree.free.deep\[0\].x"),
        ("crown", {"name": "a"}, "tree.crown.size"),
        ("crown", {"name": "a", "size": 1.0, "more": 1}, "tree.crown with only"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(key: str, value: object, where: str) -> None:
    with pytest.raises(BundleError, match=f"expected {where}"):
        from_json(Tree, {**GOOD, key: value}, "tree")


@pytest.mark.parametrize("key", GOOD)
def test_every_key_is_needed(key: str) -> None:
    data = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(BundleError, match=f"manifest.{key}; found no such key"):
        from_json(Tree, data)


def test_an_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match="found 'surprise' too"):
        from_json(Tree, {**GOOD, "surprise": 1})


@pytest.mark.parametrize("value", [math.nan, np.float32(1), np.int64(1), b"x", {1: 2}, {1, 2}])
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    with pytest.raises(BundleError, match=r"manifest\.free"):
        to_json(Tree(1, True, None, (), (1, "x"), (), {}, {"bad": value}, None))


def test_only_a_dataclass_is_written() -> None:
    with pytest.raises(BundleError, match="to be a dataclass"):
        to_json({"a": 1})


TEXT = st.text("aN\u00e9", max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=True) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=4))
def test_anything_else_is_decoded_exactly_or_refused(changes: dict[str, object]) -> None:
    data = {**GOOD, **changes}
    try:
        tree = from_json(Tree, data)
    except BundleError:
        return
    assert to_json(tree) == data


@dataclass(frozen=True)
class Newer:
    name: str
    added: tuple[Leaf, ...] = omitted(())
    usual: int = 3


def test_a_field_that_came_later_stands_only_where_it_says_something() -> None:
    assert to_json(Newer("a")) == {"name": "a", "usual": 3}
    assert from_json(Newer, {"name": "a", "usual": 3}) == Newer("a")
    full = Newer("a", (Leaf("b", 1.0),))
    assert list(to_json(full)) == ["name", "added", "usual"]
    assert from_json(Newer, to_json(full)) == full


def test_what_is_said_by_leaving_it_out_has_no_second_spelling() -> None:
    with pytest.raises(BundleError, match=r"no key manifest\.added"):
        from_json(Newer, {"name": "a", "added": [], "usual": 3})


def test_only_a_field_that_says_so_may_be_left_out() -> None:
    with pytest.raises(BundleError, match=r"manifest\.usual; found no such key"):
        from_json(Newer, {"name": "a"})
