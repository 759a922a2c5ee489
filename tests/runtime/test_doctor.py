import json
import shutil
from collections.abc import Callable
from importlib import metadata
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from medsam_edge.benchmarks.jetson_tables import jetson_tables
from medsam_edge.runtime import doctor
from medsam_edge.runtime.doctor import ExtraStatus, diagnose, extra_status, require_extra
from medsam_edge.runtime.engines.board_files import unpack
from medsam_edge.runtime.engines.gpu import Gpu
from medsam_edge.runtime.errors import DriverError, MachineError, MissingExtraError
from rich.console import Console

PACKAGES = ("torch", "onnx", "onnxscript", "safetensors")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The packages that seem to be here; a test adds to it."""
    here: set[str] = set()
    monkeypatch.setattr(doctor, "find_spec", lambda name: name if name in here else None)
    monkeypatch.setattr(doctor, "import_module", lambda _: None)
    monkeypatch.setattr(metadata, "version", lambda _: "1.2")
    return here


def test_an_extra_that_is_whole_needs_nothing(installed: set[str]) -> None:
    installed.update(PACKAGES)
    found = extra_status("export")
    assert found == ExtraStatus("export", tuple(f"{name} 1.2" for name in PACKAGES), (), None)
    require_extra("export")


def test_an_extra_that_is_half_there_says_what_is_absent(installed: set[str]) -> None:
    installed.update(("torch", "onnx"))
    found = extra_status("export")
    assert found.present == ("torch 1.2", "onnx 1.2")
    assert found.absent == ("onnxscript", "safetensors")
    assert found.missing == "pip install 'medsam-edge[export]'"


def test_a_package_without_metadata_is_here_all_the_same(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    installed.add("onnx")
    assert extra_status("export").present == ("onnx",)


def test_what_an_extra_brings_is_required_by_name(installed: set[str]) -> None:
    installed.add("onnx")
    with pytest.raises(MissingExtraError, match="torch, onnxscript, safetensors not installed") as caught:
        require_extra("export")
    assert "`export`" in caught.value.expected
    assert caught.value.remedy == "pip install 'medsam-edge[export]'"


def test_a_package_that_does_not_load_is_an_error_of_ours(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: str) -> None:
        raise OSError("libcudart.so: cannot open shared object file")

    installed.update(PACKAGES)
    monkeypatch.setattr(doctor, "import_module", load)
    with pytest.raises(MachineError, match="a working torch; found OSError: libcudart"):
        require_extra("export")


def test_the_diagnosis_covers_machine_backends_and_extras(installed: set[str]) -> None:
    found = diagnose()
    assert found.python.startswith("3.")
    assert found.memory_gib > 0
    assert [backend.name for backend in found.backends] == ["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]
    assert [extra.name for extra in found.extras] == [
        "export",
        "tensorrt",
        "tensorrt-rtx",
        "cuda-python",
        "calibrate",
        "plot",
        "dicom",
        "volumes",
        "baseline",
    ]
    assert all(extra.missing for extra in found.extras)


BOARD = Path(__file__).parent / "engines" / "boards" / "thor.json"


def test_a_jetson_is_described_and_its_python_named(installed: set[str], tmp_path: Path) -> None:
    unpack(BOARD.read_bytes(), tmp_path)
    found = diagnose(tmp_path)
    assert found.jetson
    assert found.jetson.board.model == "NVIDIA Jetson AGX Thor Developer Kit"
    assert found.jetson.remedy == "/usr/bin/python3.12 -m venv --system-site-packages ENV"
    text = StringIO()
    Console(file=text, width=100).print(jetson_tables(found.jetson))
    for words in ("120W", "JetPack 7.0", "23400 mW, VIN", "1575 MHz, locked", "tj-thermal 55.1", "does not see it"):
        assert words in text.getvalue(), words
    tensorrt = next(extra for extra in found.extras if extra.name == "tensorrt")
    assert tensorrt.missing == found.jetson.remedy


def test_where_python_sees_tensorrt_only_pycuda_is_missing(installed: set[str], tmp_path: Path) -> None:
    unpack(BOARD.read_bytes(), tmp_path)
    installed.add("tensorrt")
    found = diagnose(tmp_path)
    assert found.jetson
    assert (found.jetson.this_python, found.jetson.remedy) == (True, None)
    assert next(extra for extra in found.extras if extra.name == "tensorrt").missing == "pip install pycuda"


def test_without_tensorrt_the_systems_package_is_named(installed: set[str], tmp_path: Path) -> None:
    unpack(BOARD.read_bytes(), tmp_path)
    shutil.rmtree(tmp_path / "usr")
    found = diagnose(tmp_path)
    assert found.jetson
    assert found.jetson.remedy == "sudo apt install nvidia-jetpack"


def test_another_machine_is_no_jetson(installed: set[str], tmp_path: Path) -> None:
    assert diagnose(tmp_path).jetson is None


def test_the_driver_is_described_or_why_there_is_none(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    here = Gpu("Orin", "8.7", 1, True, "12.6")
    monkeypatch.setattr(doctor, "gpu", lambda: here)
    assert (diagnose().gpu, diagnose().no_gpu) == (here, "")

    def missing() -> Gpu:
        raise DriverError("a GPU", "no driver", "install one")

    monkeypatch.setattr(doctor, "gpu", missing)
    assert (diagnose().gpu, diagnose().no_gpu) == (None, "no driver")


def test_the_verb_records_the_files_that_were_read(tmp_path: Path, cli: Callable[..., CompletedProcess[str]]) -> None:
    done = cli("doctor", "--record", tmp_path / "board.json")
    assert done.returncode == 0
    assert "read it before you give it away" in done.stderr
    assert "proc/meminfo" in json.loads((tmp_path / "board.json").read_text())["files"]
