"""Who may import whom, what the device never loads, and the size of files and functions."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each layer imports itself and what stands below it.
LAYERS = ("runtime", "export", "calibration", "benchmarks", "cli")
PACKAGES = [path for layer in LAYERS[:-1] for path in sorted((ROOT / layer).rglob("*.py"))]
MODULES = [ROOT / "__init__.py", ROOT / "cli.py", *PACKAGES]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "typer", "rich", "scipy", "skimage")


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def name_of(path: Path) -> str:
    """`runtime/files.py` is `runtime.files`; a package's name is its folder's, the root's is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imports(path: Path, everywhere: bool) -> Iterator[str]:
    """The modules of ours that a module imports: everywhere in it, or only while it is itself imported."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    package = name_of(path).split(".") if path.stem == "__init__" else name_of(path).split(".")[:-1]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from imported_from(node, package)
        elif isinstance(node, ast.Import):
            found = [each.name.removeprefix("medsam_edge").lstrip(".") for each in node.names if "medsam" in each.name]
            assert set(found) <= NAMES
            yield from found


def imported_from(node: ast.ImportFrom, package: list[str]) -> Iterator[str]:
    if node.level:
        base = package[: len(package) - node.level + 1]
    elif (node.module or "").split(".")[0] == "medsam_edge":
        base = []
    else:
        return
    words = (node.module or "").split(".")
    source = ".".join([*base, *(words if node.level else words[1:])]).strip(".")
    for each in node.names:
        inner = f"{source}.{each.name}".strip(".")
        found = inner if inner in NAMES else source
        assert found in NAMES, f"{found} is none of our modules"
        yield found


@pytest.mark.parametrize("path", PACKAGES, ids=short)
def test_imports_run_downhill(path: Path) -> None:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    allowed = {*LAYERS[: layer + 1], ""}
    assert {name.split(".")[0] for name in imports(path, everywhere=True)} <= allowed


def test_the_checker_sees_imports_of_every_kind() -> None:
    assert "runtime.errors" in set(imports(ROOT / "cli.py", everywhere=False))
    assert "benchmarks.console" in set(imports(ROOT / "cli.py", everywhere=True))
    assert "benchmarks.console" not in set(imports(ROOT / "cli.py", everywhere=False))
    found = set(imports(ROOT / "runtime" / "backends" / "choose.py", everywhere=True))
    assert {"runtime.errors", "runtime.backends.base", "runtime.backends.fake"} <= found


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name_of(path): set(imports(path, everywhere=False)) - {name_of(path)} for path in MODULES}
    graph[""] = set()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_what_lands_on_the_device_loads_numpy_only() -> None:
    found = loaded_by("import medsam_edge.runtime")
    assert {"numpy", "medsam_edge"} <= found
    assert not found & {*HEAVY, "PIL"}


def test_dicom_is_told_from_pictures_without_a_dicom_package() -> None:
    found = loaded_by("from medsam_edge.runtime.dicom import is_dicom; import medsam_edge.benchmarks.segmenting")
    assert not found & {"pydicom", "highdicom", *(set(HEAVY) - {"rich"})}


def test_the_command_line_starts_without_anything_heavy() -> None:
    found = loaded_by("import medsam_edge.cli")
    assert not found & (set(HEAVY) - {"typer", "rich"})


def test_tables_and_phantoms_need_no_extra() -> None:
    found = loaded_by("import medsam_edge.benchmarks.tables, medsam_edge.calibration.phantoms")
    assert not found & (set(HEAVY) - {"rich"})


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_a_module_says_what_it_does_and_is_short(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.rstrip()[-1] in ".:)|`]"
    assert len(text.splitlines()) <= 300


@pytest.mark.parametrize("path", TESTS, ids=short)
def test_a_test_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 330


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=short)
def test_a_function_fits_a_screen(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > 40} == {}
