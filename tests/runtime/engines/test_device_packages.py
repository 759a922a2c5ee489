"""PyCUDA and cuda-python as their documentation describes them: which call each method makes, and with what."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.backends import device_pycuda
from medsam_edge.runtime.backends.device_cuda_python import CudaPythonMemory
from medsam_edge.runtime.backends.device_memory import DeviceMemory
from medsam_edge.runtime.engines.driver import CudaError

LOG: list[str] = []


def noted(name: str, answer: object = None) -> Any:  # noqa: ANN401
    def call(*arguments: object, **named: object) -> object:
        LOG.append(name)
        return answer

    return call


def pycuda() -> ModuleType:
    class Context:
        push, detach = noted("push"), noted("detach")
        pop = staticmethod(noted("pop"))

    class Device:
        def __init__(self, index: int) -> None:
            self.get_attribute = lambda _: 1
            self.retain_primary_context = noted("retain", Context())
            self.make_context = None

    class Allocation(int):
        def free(self) -> None:
            LOG.append("free")

    class Host(np.ndarray[Any, Any]):
        base = SimpleNamespace(get_device_pointer=lambda: 55, free=noted("free_host"))  # type: ignore[assignment]

    module = ModuleType("pycuda.driver")
    module.__dict__.update(
        init=noted("init"),
        Device=Device,
        Context=Context,
        device_attribute=SimpleNamespace(INTEGRATED=18),
        host_alloc_flags=SimpleNamespace(DEVICEMAP=2),
        mem_alloc=noted("alloc", Allocation(0x10)),
        pagelocked_empty=noted("pagelocked", np.zeros(8, np.uint8).view(Host)),
        Stream=lambda: SimpleNamespace(handle=9, synchronize=noted("sync")),
        memcpy_htod_async=noted("htod"),
        memcpy_dtoh_async=noted("dtoh"),
        memcpy_dtod_async=noted("dtod"),
    )
    return module


class Driver(ModuleType):
    """cuda.bindings.driver: each function returns a tuple that starts with the error."""

    code = 0
    CUdevice_attribute = SimpleNamespace(CU_DEVICE_ATTRIBUTE_INTEGRATED=18)
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if not name.startswith("cu"):
            raise AttributeError(name)
        host = np.zeros(8, np.uint8)
        answers = {
            "cuMemHostAlloc": host.ctypes.data,
            "cuMemAlloc": 0x10,
            "cuStreamCreate": 9,
            "cuGraphInstantiate": 88,
        }
        self.__dict__.setdefault("kept", []).append(host)

        def call(*_: object) -> tuple[int, ...]:
            LOG.append(name)
            return (self.code, answers[name]) if name in answers else (self.code, 55)

        return call


def life(memory: DeviceMemory) -> None:
    with memory.current():
        address, stream = memory.allocate(8), memory.open_stream()
        pinned = memory.allocate_pinned(8, memory.integrated)
        assert (address, stream, pinned.address, pinned.array.nbytes) == (0x10, 9, 55, 8)
        memory.upload(address, pinned.array, stream)
        memory.download(pinned.array, address, stream)
        memory.copy(address, address, 8, stream)
        memory.begin_capture(stream)
        graph = memory.end_capture(stream)
        memory.launch(graph, stream)
        memory.free_graph(graph)
        memory.synchronise(stream)
        memory.free_pinned(pinned)
        memory.free(address)
        memory.close_stream(stream)
    memory.close()
    memory.close()


def test_pycuda_is_used_through_the_primary_context(monkeypatch: pytest.MonkeyPatch) -> None:
    LOG.clear()
    graphs = SimpleNamespace(
        begin=noted("begin"), end=noted("end", 7), launch=noted("launch"), free=noted("free_graph")
    )
    monkeypatch.setattr(device_pycuda, "load", lambda: None)
    monkeypatch.setattr(device_pycuda, "Graphs", lambda _: graphs)
    monkeypatch.setattr(device_pycuda, "import_module", lambda _: pycuda())
    life(device_pycuda.PyCudaMemory())
    assert LOG == [
        "init", "retain", "push", "alloc", "pagelocked", "htod", "dtoh", "dtod", "begin", "end", "launch",
        "free_graph", "sync", "free_host", "free", "pop", "detach",
    ]  # fmt: skip


def test_cuda_python_is_used_through_the_primary_context(monkeypatch: pytest.MonkeyPatch) -> None:
    LOG.clear()
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", Driver("cuda.bindings.driver"))
    life(CudaPythonMemory())
    assert LOG == [
        "cuInit", "cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent", "cuMemAlloc",
        "cuStreamCreate", "cuMemHostAlloc", "cuMemHostGetDevicePointer", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync",
        "cuMemcpyDtoDAsync", "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphDestroy",
        "cuGraphLaunch", "cuGraphExecDestroy", "cuStreamSynchronize", "cuMemFreeHost", "cuMemFree", "cuStreamDestroy",
        "cuCtxPopCurrent", "cuDevicePrimaryCtxRelease",
    ]  # fmt: skip


def test_an_error_of_the_driver_names_the_call_and_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver("cuda.bindings.driver")
    driver.code = 100
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", driver)
    with pytest.raises(CudaError, match="cuInit returned the CUDA error 100") as caught:
        CudaPythonMemory()
    assert caught.value.code == 100
