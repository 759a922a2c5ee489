from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from medsam_edge.runtime.backends import choose, tensorrt
from medsam_edge.runtime.backends.base import BackendChoice, GraphSource, choice_from_text
from medsam_edge.runtime.backends.choose import BackendStatus, available, open_backend, resolve, status
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.errors import DriverError, MissingExtraError, UsageError
from medsam_edge.runtime.manifest import PartSpec


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("onnxruntime", BackendChoice("onnxruntime", "CPU", "f32")),
        ("openvino", BackendChoice("openvino", "CPU", "f32")),
        ("openvino:CPU", BackendChoice("openvino", "CPU", "f32")),
        ("openvino:GPU", BackendChoice("openvino", "GPU", "f32")),
        ("openvino:GPU.1", BackendChoice("openvino", "GPU.1", "f32")),
        ("openvino:NPU", BackendChoice("openvino", "NPU", "f16")),
        ("openvino:CPU:bf16", BackendChoice("openvino", "CPU", "bf16")),
        ("openvino::f16", BackendChoice("openvino", "CPU", "f16")),
        ("openvino:CPU:int8", BackendChoice("openvino", "CPU", "f32", graph="int8")),
        ("openvino:CPU:int8+bf16", BackendChoice("openvino", "CPU", "bf16", graph="int8")),
        ("openvino:NPU:int8", BackendChoice("openvino", "NPU", "f16", graph="int8")),
        ("onnxruntime:CPU:int8", BackendChoice("onnxruntime", "CPU", "f32", graph="int8")),
        ("onnxruntime:CPU:f32", BackendChoice("onnxruntime", "CPU", "f32")),
        ("fake", BackendChoice("fake", "CPU", "f32")),
        ("tensorrt", BackendChoice("tensorrt", "GPU", "f16", graph="fp16")),
        ("tensorrt:GPU:f32", BackendChoice("tensorrt", "GPU", "f32", graph="fp32")),
        ("tensorrt:GPU:int8", BackendChoice("tensorrt", "GPU", "f16", graph="int8")),
        ("tensorrt-rtx", BackendChoice("tensorrt-rtx", "GPU", "f16", graph="fp16")),
    ],
)
def test_a_backends_name_is_read(text: str, choice: BackendChoice) -> None:
    assert choice_from_text(text) == choice


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("openvino:CPU:f32", "openvino"),
        ("openvino:GPU:f32", "openvino:GPU"),
        ("openvino:NPU:f16", "openvino:NPU"),
        ("openvino:NPU:f32", "openvino:NPU:f32"),
        ("openvino::bf16", "openvino:CPU:bf16"),
        ("onnxruntime", "onnxruntime"),
        ("openvino:CPU:int8+f32", "openvino:CPU:int8"),
        ("openvino::int8+bf16", "openvino:CPU:int8+bf16"),
        ("tensorrt:GPU:f16", "tensorrt"),
        ("tensorrt::f32", "tensorrt:GPU:f32"),
        ("tensorrt:gpu:int8", "tensorrt:GPU:int8+f16"),
    ],
)
def test_a_choice_is_written_in_its_shortest_form_and_reads_back(text: str, short: str) -> None:
    assert str(choice_from_text(text)) == short
    assert choice_from_text(short) == choice_from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "auto",
        "torch",
        "OpenVINO",
        "openvino:CPU:int4",
        "openvino:CPU:int8+int8",
        "openvino:CPU:bf16+int8",
        "onnxruntime:CPU:int8+bf16",
        "openvino:CPU:f32:more",
        "onnxruntime:GPU",
        "onnxruntime:CPU:f16",
        "fake:GPU",
        "tensorrt:CPU",
        "tensorrt:GPU:bf16",
        "tensorrt:GPU:int8+f32",
        "tensorrt:GPU:fp16",
    ],
)
def test_what_names_no_backend_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="openvino:CPU:bf16") as caught:
        choice_from_text(text)
    assert caught.value.found == repr(text)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_auto_takes_the_first_that_is_here(here: Callable[..., None], name: str) -> None:
    here(name, "another")
    assert resolve("auto") == BackendChoice(name)


def test_auto_with_nothing_here_names_both_extras(here: Callable[..., None]) -> None:
    here()
    with pytest.raises(MissingExtraError) as caught:
        resolve("auto")
    assert caught.value.found == "no backend at all"
    assert "'medsam-edge[openvino]'" in caught.value.remedy
    assert "'medsam-edge[ort]'" in caught.value.remedy


def test_the_fake_is_never_chosen_by_itself_but_always_here(here: Callable[..., None]) -> None:
    here()
    assert resolve("fake") == BackendChoice("fake")
    assert "fake" not in choose.LADDER


@pytest.mark.parametrize(
    ("asked", "installed", "extra"),
    [("onnxruntime", "openvino", "ort"), ("openvino:GPU", "onnxruntime", "openvino")],
)
def test_a_missing_backend_lists_what_is_here_and_its_extra(
    here: Callable[..., None], asked: str, installed: str, extra: str
) -> None:
    here(installed)
    with pytest.raises(MissingExtraError) as caught:
        resolve(asked)
    assert asked.split(":")[0] in caught.value.expected
    assert caught.value.found == installed
    assert f"pip install 'medsam-edge[{extra}]'" in caught.value.remedy


def test_a_package_that_does_not_load_is_said_to_be_broken_and_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = choose._module

    def load(name: str) -> ModuleType:
        if name == "openvino":
            raise OSError("libopenvino.so: cannot open\nmore")
        return module(name)

    monkeypatch.setattr(choose, "_module", load)
    assert choose.status("openvino").missing == (
        "broken (libopenvino.so: cannot open); pip install 'medsam-edge[openvino]' again"
    )
    with pytest.raises(MissingExtraError, match="broken"):
        resolve("openvino")
    assert resolve("fake") == BackendChoice("fake")


def test_an_unknown_name_is_a_wrong_request_and_not_a_missing_package(here: Callable[..., None]) -> None:
    here()
    with pytest.raises(UsageError):
        resolve("tensorflow")


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "ort"), ("openvino", "openvino")])
def test_a_package_that_cannot_be_imported_is_missing(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    assert status(name) == BackendStatus(name, None, (), f"pip install 'medsam-edge[{extra}]'")
    assert name not in available()


@pytest.mark.parametrize(
    ("name", "module"),
    [("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx")],
)
def test_tensorrt_that_is_not_installed_is_missing_and_not_broken(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    assert status(name) == BackendStatus(name, None, (), f"pip install 'medsam-edge[{name}]'")
    with pytest.raises(MissingExtraError, match=name):
        resolve(name)


def test_tensorrt_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise DriverError("an NVIDIA driver with a GPU", "no driver", "install it")

    monkeypatch.setattr(tensorrt, "gpu", absent)
    monkeypatch.setattr(tensorrt, "library", lambda _: SimpleNamespace(__version__="10.3.0"))
    with pytest.raises(DriverError):
        resolve("tensorrt")
    assert "no driver" in str(status("tensorrt").missing)


def test_the_status_of_a_backend_that_is_here_has_version_and_devices() -> None:
    assert status("fake") == BackendStatus("fake", "1", ("CPU",), None)


def test_the_fake_is_opened_by_name() -> None:
    source = GraphSource(Path("none.onnx"), PartSpec("encoder", (), ()), "")
    assert isinstance(open_backend(source, BackendChoice("fake")), FakeBackend)
