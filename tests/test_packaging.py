"""What is packaged is what is in the tree, and what a wheel installs runs."""

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from medsam_edge import __version__

ROOT = Path(__file__).parents[1]
LAYERS = ("benchmarks", "calibration", "export", "runtime")
MAX_WHEEL_BYTES = 20_000_000


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return read


def test_the_listed_packages_are_those_of_the_tree(pyproject: dict[str, Any]) -> None:
    folders = {path.parent.relative_to(ROOT) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    found = {"medsam_edge", *(".".join(("medsam_edge", *folder.parts)) for folder in folders)}
    setuptools = pyproject["tool"]["setuptools"]
    assert sorted(setuptools["packages"]) == sorted(found)
    assert setuptools["package-dir"] == {"medsam_edge": "."}


def test_every_package_has_an_init(pyproject: dict[str, Any]) -> None:
    for name in pyproject["tool"]["setuptools"]["packages"]:
        assert (ROOT.joinpath(*name.split(".")[1:]) / "__init__.py").is_file()


def test_the_root_holds_two_modules() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "cli.py"}


def test_the_version_stands_in_two_places_and_is_one(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["version"] == __version__


def test_the_base_carries_no_backend(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    names = {re.split(r"[<>=~! ]", each)[0] for each in project["dependencies"]}
    assert names == {"numpy", "typer", "rich", "pillow"}
    assert {"ort", "ort-gpu", "export", "openvino", "tensorrt", "dev"} <= set(project["optional-dependencies"])
    assert project["requires-python"] == ">=3.10"
    extras = [one.split(";")[0] for some in project["optional-dependencies"].values() for one in some]
    assert "==" not in str(extras)  # pins live in the constraints file


def test_the_extras_that_errors_name_exist(pyproject: dict[str, Any]) -> None:
    texts = [path.read_text() for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"medsam-edge\[([a-z-]+)\]", text)}
    from medsam_edge.runtime import doctor
    from medsam_edge.runtime.backends.choose import EXTRAS

    named |= {*EXTRAS.values(), *doctor._EXTRAS}
    assert named <= set(pyproject["project"]["optional-dependencies"])


def test_doctor_looks_for_what_the_extras_bring(pyproject: dict[str, Any]) -> None:
    from medsam_edge.runtime import doctor

    extras = pyproject["project"]["optional-dependencies"]
    for name, packages in doctor._EXTRAS.items():
        assert {re.split(r"[<>=]", each)[0] for each in extras[name]} == set(packages.values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    ignored = ".git .venv build dist *.egg-info demo-output *.bundle training-run __pycache__ .*_cache"
    # A copy, because setuptools builds inside the tree, where other runs may be reading.
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*ignored.split()))
    command = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(copy))
    subprocess.run([sys.executable, "-m", "pip", *command], check=True, timeout=600)
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {name for name in names if name.startswith("medsam_edge/")}
    metadata = {name for name in names if name.startswith(f"medsam_edge-{__version__}.dist-info/")}
    assert inside | metadata == set(names)
    assert not [name for name in inside if name.startswith(("medsam_edge/tests", "medsam_edge/docs"))]
    sources = {f"medsam_edge/{path.relative_to(ROOT)}" for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert sources | {"medsam_edge/py.typed", "medsam_edge/cli.py", "medsam_edge/__init__.py"} <= inside
    assert [name for name in inside if name.startswith("medsam_edge/export/demo/") and name.endswith(".safetensors")]
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES


def with_what_it_needs(name: str) -> Iterator[metadata.Distribution]:
    """A distribution that is installed here, and those that it requires without any extra."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # for another system or Python
        return
    yield found
    for line in found.requires or ():
        if "extra ==" not in line:
            yield from with_what_it_needs(re.split(r"[^A-Za-z0-9._-]", line)[0])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The commands of an environment with the wheel and its base dependencies, made without a network."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for base in ("numpy", "typer", "rich", "pillow"):
        for found in with_what_it_needs(base):
            tops = {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}
            for top in tops:
                if not (packages / top).exists():
                    (packages / top).symlink_to(Path(str(found.locate_file(top))))
    install = ("--python", str(folder), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=600)
    return folder / "bin"


@pytest.mark.slow
def test_a_wheel_without_extras_runs_and_says_what_is_missing(bare: Path, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [bare / "medsam-edge", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)

    assert run("--version").stdout == f"medsam-edge {__version__}\n"
    assert run("doctor").returncode == 0
    for words in (("demo",), ("export", "demo", "--out", "b"), ("verify", "b"), ("bench", "b"), ("segment", "b", "i")):
        done = run(*words)
        assert (done.returncode, done.stderr.count("\n")) == (3, 1)
        assert "pip install 'medsam-edge[" in done.stderr
