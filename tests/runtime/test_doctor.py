from importlib import metadata

import pytest
from medsam_edge.runtime import doctor
from medsam_edge.runtime.doctor import ExtraStatus, diagnose, extra_status, require_extra
from medsam_edge.runtime.errors import MachineError, MissingExtraError

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
    assert [backend.name for backend in found.backends] == ["openvino", "onnxruntime"]
    assert [extra.name for extra in found.extras] == ["export", "calibrate", "volumes", "baseline"]
    assert all(extra.missing for extra in found.extras)
