"""No name of TensorRT is used that any version from 10.3 to 11.4 lacks.

The list beside this file was read off the real bindings. The code follows a habit that makes it checkable: a native
object is held in a variable of its class's name.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
API = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())
CORE: dict[str, set[str]] = {name: set(names) for name, names in API["core"].items()}
FILES = [
    *sorted((ROOT / "runtime" / "engines").glob("*.py")),
    *sorted((ROOT / "runtime/backends").glob("tensorrt*.py")),
]
VARIABLES = {
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser", "config": "IBuilderConfig",
    "engine": "ICudaEngine", "context": "IExecutionContext", "runtime": "Runtime", "inspector": "EngineInspector",
    "cache": "ITimingCache",
}  # fmt: skip
# In modules that hold no tensors and layers but the library's.
NATIVE_ONLY = {
    "census": {"layer": "ILayer", "tensor": "ITensor"},
    "builder": {"tensor": "ITensor", "profile": "IOptimizationProfile"},
}
MODULE = {
    "Builder", "OnnxParser", "Runtime", "ILogger", "IProgressMonitor", "IProfiler", "NetworkDefinitionCreationFlag",
    "MemoryPoolType", "ProfilingVerbosity", "BuilderFlag", "LayerInformationFormat", "TensorIOMode",
    "ExecutionContextAllocationStrategy", "IConvolutionLayer", "IDeconvolutionLayer", "__version__",
}  # fmt: skip
# Of IConvolutionLayer and IDeconvolutionLayer, and Python's own.
CONVOLUTION = {"kernel_size_nd", "num_output_maps", "num_groups", "__class__"}
# TensorRT-RTX's, behind a look at whether they are there.
GUARDED = {"num_compute_capabilities", "set_compute_capability"}
REMOVED = {name.rpartition(".")[2] for name in API["removed_in_11"]} - {"precision", "read", "device_memory_size"}


def names(tree: ast.AST, stem: str) -> Iterator[tuple[str, str, int]]:
    """Class, attribute and line of each use of the library that can be seen."""
    variables = {**VARIABLES, **NATIVE_ONLY.get(stem, {})}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        holder = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
        holder = holder.lstrip("_")
        if holder == "trt":
            yield "module", node.attr, node.lineno
        elif holder in variables:
            yield variables[holder], node.attr, node.lineno
        elif holder in CORE:
            yield holder, node.attr, node.lineno


def allowed(kind: str, name: str) -> bool:
    if kind == "module":
        return name in MODULE
    extra = {"ILayer": CONVOLUTION, "IBuilderConfig": GUARDED}.get(kind, set())
    return name in CORE[kind] | extra | {"__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_name_is_in_every_version(path: Path) -> None:
    used = list(names(ast.parse(path.read_text()), path.stem))
    assert [one for one in used if not allowed(one[0], one[1])] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_that_11_removed_is_named(path: Path) -> None:
    tree = ast.parse(path.read_text())
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    looked = [node.args[1] for node in calls if getattr(node.func, "id", "") == "getattr"]
    asked = {node.value for node in looked if isinstance(node, ast.Constant)}
    assert not (attributes | asked) & REMOVED


def test_what_is_newer_than_the_oldest_is_looked_for_first() -> None:
    tree = ast.parse((ROOT / "runtime/engines/builder.py").read_text())
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        used = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)} & GUARDED
        if used:
            asked = ast.unparse(function)
            assert "hasattr(known, name)" in asked
            assert "getattr(trt, 'ComputeCapability', None)" in asked


def test_the_walk_sees_what_it_is_for() -> None:
    found = [one for path in FILES for one in names(ast.parse(path.read_text()), path.stem)]
    assert {kind for kind, _, _ in found} >= {
        "module",
        *VARIABLES.values(),
        "ILayer",
        "ITensor",
        "IOptimizationProfile",
    }
    wrong = "config.set_flag(trt.BuilderFlag.FP16); config.int8_calibrator = c; context.execute_async(s); trt.Refuser"
    seen = {name for kind, name, _ in names(ast.parse(wrong), "x") if not allowed(kind, name)}
    assert seen == {"FP16", "int8_calibrator", "execute_async", "Refuser"}


def test_the_library_is_imported_in_one_place() -> None:
    for path in (ROOT / "runtime").rglob("*.py"):
        text = path.read_text()
        assert path.stem == "library" or "import tensorrt\n" not in text
        assert "import_module(name)" not in text or path.stem == "library"


def test_a_context_of_its_own_is_never_made() -> None:
    for path in (ROOT / "runtime").rglob("*.py"):
        tree = ast.parse(path.read_text())
        named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not {name for name in named if name and "autoinit" in name}
        assert "make_context" not in path.read_text()
