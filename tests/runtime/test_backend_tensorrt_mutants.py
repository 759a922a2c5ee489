"""Each call that binds, waits, copies or frees is taken out in turn, and a day at the scanner has to notice."""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Loose = Any  # a module beside the tests, or what it makes
FOLDER = Path(__file__).parents[2] / "runtime" / "backends"
MODULES = ("tensorrt_ports", "tensorrt_lane", "tensorrt")
CALLS = {
    "set_device_memory", "set_optimization_profile_async", "set_input_shape", "set_tensor_address", "synchronise",
    "upload", "download", "copy", "free", "free_pinned", "free_graph", "close_stream", "close", "launch", "_enqueue",
    "put", "fetch", "_abandon", "begin_capture",
}  # fmt: skip


def called(node: ast.AST) -> set[str]:
    functions = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    names = [one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in functions]
    return set(names) & CALLS


def mutants() -> Iterator[tuple[str, int, str]]:
    for name in MODULES:
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and called(node):
                yield name, node.lineno, "+".join(sorted(called(node)))


MUTANTS = list(mutants())


class Without(ast.NodeTransformer):
    def __init__(self, line: int) -> None:
        self.line = line

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if node.lineno == self.line and called(node):
            return ast.copy_location(ast.Pass(), node)
        return node


def load(monkeypatch: pytest.MonkeyPatch, changed: str = "", line: int = 0) -> None:
    """Put the three modules in place, one of them without a call."""
    package = "medsam_edge.runtime.backends"
    for name in MODULES:
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        if name == changed:
            tree = ast.fix_missing_locations(Without(line).visit(tree))
        module = ModuleType(f"{package}.{name}")
        module.__dict__["__package__"] = package
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(sys.modules[package], name, module, raising=False)
        exec(compile(tree, f"{name}.py", "exec"), module.__dict__)


def test_the_calls_are_found() -> None:
    found = {call for _, _, calls in MUTANTS for call in calls.split("+")}
    assert found >= CALLS - {"_abandon"}
    assert len(MUTANTS) > 25


@pytest.mark.parametrize("integrated", [False, True])
def test_with_every_call_the_day_passes(
    monkeypatch: pytest.MonkeyPatch,
    make_world: Callable[..., Any],
    scenes: Loose,
    integrated: bool,
) -> None:
    load(monkeypatch)
    scenes.day(make_world(integrated), 32)


@pytest.mark.parametrize(("name", "line", "calls"), MUTANTS, ids=[f"{name}:{calls}:{n}" for name, n, calls in MUTANTS])
def test_without_a_call_the_day_fails(
    monkeypatch: pytest.MonkeyPatch,
    make_world: Callable[..., Any],
    scenes: Loose,
    name: str,
    line: int,
    calls: str,
) -> None:
    load(monkeypatch, name, line)
    with pytest.raises(Exception):  # noqa: B017, PT011 - however it shows
        both_days(make_world, scenes)
    assert calls


def both_days(make_world: Callable[..., Any], scenes: Loose) -> None:
    for integrated in (False, True):
        scenes.day(make_world(integrated), 32)
