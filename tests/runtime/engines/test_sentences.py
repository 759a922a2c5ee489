import pytest
from medsam_edge.runtime.engines.sentences import cuda_failure, explained, unsupported
from medsam_edge.runtime.errors import (
    BackendError,
    BoxError,
    DeviceLostError,
    DeviceMemoryError,
    DriverError,
    EngineError,
    MedSAMEdgeError,
    WorkspaceError,
)


@pytest.mark.parametrize(
    ("message", "kind", "remedy"),
    [
        ("Error Code 10: no tactics found within workspace limit for node X", WorkspaceError, "larger --workspace"),
        ("Could not find any implementation for node {ForeignNode[a...b]}", WorkspaceError, "larger --workspace"),
        ("Cuda Runtime (out of memory)", DeviceMemoryError, "smaller --workspace"),
        ("Error Code 2: OutOfMemory (Requested size was 1 bytes.)", DeviceMemoryError, "smaller --workspace"),
        ("CUDA initialization failure with error: 35", DriverError, "nvidia-smi"),
        ("pybind11::init(): factory function returned nullptr", DriverError, "--gpus all"),
        ("Serialization assertion failed. Version tag does not match", EngineError, "medsam-edge build"),
        ("The engine plan file is generated on an incompatible device", EngineError, "medsam-edge build"),
        ("Cuda Runtime (an illegal memory access was encountered)", DeviceLostError, "start the program again"),
        ("something new", BackendError, "another --precision"),
    ],
)
def test_what_the_library_says_becomes_a_sentence_with_a_remedy(
    message: str, kind: type[MedSAMEdgeError], remedy: str
) -> None:
    error = explained([message, "and a consequence"], "to build", "encoder")
    assert type(error) is kind
    assert f"encoder: {message}"[:60] in error.found
    assert remedy in error.remedy


def test_silence_is_an_error_too() -> None:
    assert explained([], "to run").found == "no message"


def test_an_operator_that_is_not_known_is_named_with_its_node() -> None:
    error = unsupported("encoder", "node_17", "GridSample", "No importer registered", "10.3.0")
    assert str(error).startswith(
        "expected operators that TensorRT 10.3.0 knows in the encoder; found GridSample in the node node_17"
    )


class PackageError(Exception):
    def __init__(self, code: int | None, words: str) -> None:
        super().__init__(words)
        if code is not None:
            self.code = code


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PackageError(2, "cuMemAlloc"), DeviceMemoryError),
        (PackageError(700, "cuStreamSynchronize"), DeviceLostError),
        (PackageError(719, "cuStreamSynchronize"), DeviceLostError),
        (PackageError(1, "cuMemAlloc: invalid value"), BackendError),
        (PackageError(None, "cuMemAlloc failed: out of memory"), DeviceMemoryError),
        (PackageError(None, "cuCtxSynchronize failed: an illegal memory access was encountered"), DeviceLostError),
        (MemoryError(), DeviceMemoryError),
    ],
)
def test_what_the_packages_raise_becomes_an_error_that_a_fallback_can_act_on(
    error: Exception, kind: type[MedSAMEdgeError]
) -> None:
    assert type(cuda_failure(error, "to run")) is kind


def test_an_error_of_ours_stays_what_it_is() -> None:
    error = BoxError("a", "b", "c")
    assert cuda_failure(error, "to run") is error
