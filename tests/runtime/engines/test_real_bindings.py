"""Every name of TensorRT that we use exists in NVIDIA's own bindings of each version: opt-in, for it downloads them.

    MEDSAM_EDGE_REAL_BINDINGS=1 python -m pytest -m slow -s tests/runtime/engines/test_real_bindings.py

The bindings are wheels of about a megabyte each on the package index; the libraries behind them are not, and are not
needed. Nothing of NVIDIA's is kept.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from medsam_edge.runtime.engines.library import check_version

HERE = Path(__file__).parent
VARIABLE = "MEDSAM_EDGE_REAL_BINDINGS"
VERSIONS = ("10.3.0", "10.7.0", "10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106")
PACKAGE = "tensorrt-cu12-bindings"
opt_in = pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"downloads NVIDIA's bindings; set {VARIABLE}=1")


def used_names() -> dict[str, list[str]]:
    """What the adapter touches, by class, as `test_api` sees it; Python's own names left out."""
    from test_api import CONVOLUTION, FILES, GUARDED, names

    found: dict[str, set[str]] = {"module": set()}
    for path in FILES:
        for kind, name, _ in names(ast.parse(path.read_text()), path.stem):
            if name not in GUARDED and not (name.startswith("__") and name != "__version__"):
                of_convolution = kind == "ILayer" and name in CONVOLUTION
                found.setdefault("IConvolutionLayer" if of_convolution else kind, set()).add(name)
    return {kind: sorted(some) for kind, some in found.items()}


@pytest.fixture
def names_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(HERE))
    path = tmp_path / "names.json"
    path.write_text(json.dumps(used_names()))
    return path


def asked(wheel: Path, tmp_path: Path, names: Path) -> dict[str, object]:
    (tmp_path / "libraries").mkdir()
    command = [sys.executable, HERE / "bindings_stub.py", wheel, tmp_path / "libraries", names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def unpacked(folder: Path, version: str) -> Path:
    command = ("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", *command, f"{PACKAGE}=={version}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no bindings of {version} for this Python here: {done.stderr.strip().splitlines()[-1][:200]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "wheel")
    return folder / "wheel"


@opt_in
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to compile the empty libraries with")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_we_use_is_in_the_real_bindings(tmp_path: Path, names_file: Path, version: str) -> None:
    answer = asked(unpacked(tmp_path / "download", version), tmp_path, names_file)
    assert str(answer["version"]).startswith(version)
    assert answer["missing"] == []
    check_version(str(answer["version"]))
    names = json.loads(names_file.read_text())
    print(f"TensorRT {answer['version']}: {sum(map(len, names.values()))} names of {len(names)} classes are there")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to compile the empty libraries with")
def test_bindings_without_a_name_are_found_out(tmp_path: Path, names_file: Path) -> None:
    wheel = tmp_path / "wheel"
    (wheel / "tensorrt_bindings").mkdir(parents=True)
    (wheel / "tensorrt_cu12_bindings-12.5.0.dist-info").mkdir()
    names = json.loads(names_file.read_text())
    lines = ["__version__ = '12.5.0'", "import ctypes", "ctypes.CDLL('libnvinfer.so.12').createInferBuilder_INTERNAL"]
    for kind in (kind for kind in names if kind != "module"):
        lines.append(
            f"class {kind}: {'; '.join(f'{name} = 1' for name in names[kind] if name != 'build_serialized_network')}"
        )
    lines += [
        f"{name} = 1" for name in names["module"] if name not in names and name != "__version__" and name != "ILogger"
    ]
    (wheel / "tensorrt_bindings" / "__init__.py").write_text("\n".join(lines) + "\n")
    answer = asked(wheel, tmp_path, names_file)
    assert answer == {"version": "12.5.0", "missing": ["ILogger", "Builder.build_serialized_network"]}


def test_what_is_asked_for_is_what_the_adapter_uses(names_file: Path) -> None:
    names = json.loads(names_file.read_text())
    assert "STRONGLY_TYPED" in names["NetworkDefinitionCreationFlag"]
    assert "execute_async_v3" in names["IExecutionContext"]
    assert "deserialize_cuda_engine" in names["Runtime"]
    assert "kernel_size_nd" in names["IConvolutionLayer"]
    assert sum(map(len, names.values())) > 50
