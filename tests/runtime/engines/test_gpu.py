"""The driver and the library where they are not there, or not right; a made-up driver where they are."""

import ctypes
import sys
from types import ModuleType
from typing import Any

import pytest
from medsam_edge.runtime.backends import device_memory
from medsam_edge.runtime.engines import library as module
from medsam_edge.runtime.engines.driver import CudaError, Graphs, describe, load
from medsam_edge.runtime.engines.gpu import Gpu, gpu, probe
from medsam_edge.runtime.engines.library import check_version, library
from medsam_edge.runtime.errors import DriverError, MachineError, MissingExtraError, UsageError


class Driver:
    """The functions of libcuda that are called, with an Orin behind them."""

    def __init__(self, error: int = 0) -> None:
        self.error, self.calls = error, list[tuple[str, ...]]()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        def call(*arguments: Any) -> int:  # noqa: ANN401
            self.calls.append((name, *(str(getattr(one, "value", one)) for one in arguments)))
            values: dict[str, object] = {
                "cuDriverGetVersion": 12060,
                "cuDeviceTotalMem_v2": 7 << 30,
                "cuStreamEndCapture": 77,
                "cuGraphInstantiateWithFlags": 88,
            }
            if name == "cuDeviceGetName":
                arguments[0].value = b"Orin"
            elif name == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 8, 76: 7, 18: 1}[arguments[1]]
            elif name in values:
                arguments[name == "cuStreamEndCapture"]._obj.value = values[name]
            return self.error

        return call


def test_a_gpu_is_described_by_its_driver() -> None:
    found = Gpu(**describe(Driver()))  # type: ignore[arg-type]
    assert found == Gpu("Orin", "8.7", 7 << 30, True, "12.6")
    with pytest.raises(CudaError, match="cuInit returned the CUDA error 100") as caught:
        describe(Driver(100))
    assert caught.value.code == 100


def test_a_graph_is_recorded_launched_and_dropped() -> None:
    driver = Driver()
    graphs = Graphs(driver)
    graphs.begin(5)
    made = graphs.end(5)
    graphs.launch(made, 5)
    graphs.free(made)
    assert made == 88
    assert [call[0] for call in driver.calls] == [
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]
    assert driver.calls[3] == ("cuGraphDestroy", "77")


def test_the_second_place_of_the_driver_is_tried_and_none_is_an_error() -> None:
    def opening(name: str) -> str:
        if name == "first":
            raise OSError(name)
        return name

    assert load(("first", "second"), opening) == "second"
    with pytest.raises(OSError, match="first"):
        load(("first",), opening)
    assert load(("libc.so.6",), ctypes.CDLL)


ANSWER = '{"name": "Orin", "capability": "8.7", "memory_bytes": 1, "integrated": true, "driver": "12.6"}'


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def test_the_gpu_is_what_the_child_answers() -> None:
    assert probe(python(f"print('noise'); print('{ANSWER}')")) == Gpu("Orin", "8.7", 1, True, "12.6")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), "ended with -11"),
        (python("import sys; sys.exit('no driver: libcuda.so.1 is not here')"), "no driver"),
        (python("print('{}')"), "an answer that is none"),
        (python(""), "an answer that is none"),
        (("/no/such/program",), "no process"),
    ],
)
def test_a_child_that_dies_or_finds_nothing_is_an_error_and_no_crash(command: tuple[str, ...], found: str) -> None:
    with pytest.raises(DriverError, match=found):
        probe(command)


@pytest.mark.skipif(any(map(sys.modules.get, ("torch.cuda",))), reason="the driver may be in use by this process")
def test_this_machine_answers_one_way_or_the_other() -> None:
    gpu.cache_clear()
    try:
        assert gpu().memory_bytes > 0
    except DriverError as error:
        assert "--backend" in error.remedy  # noqa: PT017 - either is right


def test_a_library_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"medsam-edge\[tensorrt\]'; on a Jetson"):
        library("enterprise")
    with pytest.raises(MissingExtraError, match=r"medsam-edge\[tensorrt-rtx\]"):
        library("rtx")


def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise ImportError("libnvinfer.so.10: cannot open shared object file\nmore")

    monkeypatch.setattr(module, "import_module", broken)
    with pytest.raises(MachineError, match=r"found libnvinfer\.so\.10: cannot open shared object file\."):
        library("enterprise")


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.0.106"])
def test_versions_from_10_3_to_11_are_known(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0", "12.0.0"])
def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    fake = ModuleType("tensorrt")
    fake.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    with pytest.raises(MachineError, match=f"TensorRT from 10.3 to 11; found {version}"):
        library("enterprise")


@pytest.mark.parametrize(
    ("here", "asked", "opened"),
    [
        ({"pycuda", "cuda.bindings"}, "auto", "pycuda"),
        ({"cuda.bindings"}, "auto", "cuda-python"),
        ({"pycuda", "cuda.bindings"}, "cuda-python", "cuda-python"),
    ],
)
def test_pycuda_comes_first(monkeypatch: pytest.MonkeyPatch, here: set[str], asked: str, opened: str) -> None:
    monkeypatch.setattr(device_memory, "find_spec", lambda name: name if name in here else None)
    monkeypatch.setattr("medsam_edge.runtime.backends.device_pycuda.PyCudaMemory", lambda: "pycuda")
    monkeypatch.setattr("medsam_edge.runtime.backends.device_cuda_python.CudaPythonMemory", lambda: "cuda-python")
    assert device_memory.open_memory(asked) == opened  # type: ignore[comparison-overlap]


def test_without_a_package_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"medsam-edge\[tensorrt\].*cuda-python"):
        device_memory.open_memory()
    with pytest.raises(UsageError, match="cupy"):
        device_memory.open_memory("cupy")
