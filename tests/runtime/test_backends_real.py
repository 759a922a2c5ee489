"""ONNX Runtime and OpenVINO on a graph of three nodes: the contract of `Backend`, held by both."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.backends.base import Backend, BackendChoice, GraphSource, HostTensor, choice_from_text
from medsam_edge.runtime.backends.choose import open_backend, status
from medsam_edge.runtime.errors import BackendError, BundleError, DeviceMemoryError, MachineError, UsageError
from medsam_edge.runtime.machine import processor_features
from medsam_edge.runtime.manifest import PartSpec, TensorSpec
from medsam_edge.runtime.types import AnyArray

SIDE = 32
PART = PartSpec(
    "part",
    (TensorSpec("x", "float32", ("N", SIDE)),),
    (TensorSpec("product", "float32", ("N", SIDE)), TensorSpec("doubled", "float32", ("N", SIDE))),
)
WEIGHTS = np.random.default_rng(5).normal(size=(SIDE, SIDE)).astype(np.float32)
Open = Callable[..., Backend]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Add", ["x", "x"], ["doubled"])]
    values = [helper.make_tensor_value_info(spec.name, float32, spec.shape) for spec in (*PART.inputs, *PART.outputs)]
    weights = onnx.numpy_helper.from_array(WEIGHTS, "w")
    made = helper.make_graph(nodes, "g", values[:1], values[1:], [weights])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path_factory.mktemp("graph") / "part.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(params=["onnxruntime", "openvino"])
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture
def opened(name: str, graph: Path) -> Iterator[Backend]:
    backend = open_backend(GraphSource(graph, PART, ""), BackendChoice(name))
    yield backend
    backend.close()


def numbers(seed: int, rows: int = 3) -> AnyArray:
    return np.random.default_rng(seed).normal(size=(rows, SIDE)).astype(np.float32)


def run(backend: Backend, x: AnyArray) -> dict[str, AnyArray]:
    return {name: tensor.numpy() for name, tensor in backend.run({"x": HostTensor(x)}).items()}


@pytest.mark.parametrize("rows", [1, 3, 17])
def test_the_graph_is_computed_for_any_number_of_rows(opened: Backend, rows: int) -> None:
    x = numbers(1, rows)
    found = run(opened, x)
    assert list(found) == ["product", "doubled"]
    np.testing.assert_allclose(found["product"], x @ WEIGHTS, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["doubled"], 2 * x)


def test_the_interface_is_the_manifests(opened: Backend) -> None:
    assert (opened.inputs, opened.outputs) == (PART.inputs, PART.outputs)


def test_outputs_stay_as_they_are_through_later_runs_and_after_closing(opened: Backend) -> None:
    first = run(opened, numbers(1))
    kept = {name: array.copy() for name, array in first.items()}
    for seed in range(2, 6):
        run(opened, numbers(seed))
    opened.close()
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


def test_outputs_are_the_callers_to_change(opened: Backend) -> None:
    first = run(opened, numbers(1))["product"]
    wanted = first.copy()
    first[:] = np.nan
    np.testing.assert_array_equal(run(opened, numbers(1))["product"], wanted)


def test_inputs_are_left_alone(opened: Backend) -> None:
    x = numbers(1)
    x.flags.writeable = False
    run(opened, x)
    np.testing.assert_array_equal(x, numbers(1))


def test_eight_threads_at_once_get_their_own_answers(opened: Backend) -> None:
    inputs = [numbers(seed, 1 + seed % 5) for seed in range(64)]
    wanted = [run(opened, x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: run(opened, x), inputs))
    for one, other in zip(found, wanted, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_wrong_tensors_are_refused_before_the_library_sees_them(opened: Backend) -> None:
    with pytest.raises(UsageError, match=r"x as float32 \['N', 32\]; found float64"):
        run(opened, numbers(1).astype(np.float64))
    with pytest.raises(UsageError, match="the inputs x; found none"):
        opened.run({})


def test_it_may_be_closed_twice(opened: Backend) -> None:
    opened.close()
    opened.close()


def test_float32_is_what_is_used_unless_somebody_asks(opened: Backend) -> None:
    assert opened.precision == "f32"


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_change_the_answer(name: str, graph: Path, threads: int) -> None:
    backend = open_backend(GraphSource(graph, PART, ""), BackendChoice(name, threads=threads))
    np.testing.assert_array_equal(run(backend, numbers(1))["doubled"], 2 * numbers(1))


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", bytes(100)])
def test_a_file_that_is_no_graph_is_one_line(name: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"broken\.onnx") as caught:
        open_backend(GraphSource(tmp_path / "broken.onnx", PART, ""), BackendChoice(name))
    assert "\n" not in str(caught.value)
    assert status(name).version in str(caught.value)


def test_the_status_names_version_and_cpu(name: str) -> None:
    found = status(name)
    assert found.version
    assert found.version[0].isdigit()
    assert "CPU" in found.devices
    assert found.missing is None


@pytest.mark.skipif("avx512_bf16" not in processor_features(), reason="this processor has no bf16")
def test_openvino_computes_in_bf16_only_where_it_is_asked_to(graph: Path) -> None:
    pytest.importorskip("openvino")
    source = GraphSource(graph, PART, "")
    half, full = (open_backend(source, choice_from_text(text)) for text in ("openvino:CPU:bf16", "openvino"))
    assert (half.precision, full.precision) == ("bf16", "f32")
    x = numbers(1, 16)
    errors = [float(np.abs(run(one, x)["product"] - x @ WEIGHTS).max()) for one in (half, full)]
    assert errors[0] > 1e-3 > errors[1]


def test_a_library_that_computes_in_another_precision_is_refused(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor without bf16 OpenVINO takes the wish, computes in float32 and says so only when it is asked."""
    pytest.importorskip("openvino")
    monkeypatch.setattr("medsam_edge.runtime.backends.openvino.precision_of", lambda _: "f32")
    open_backend(GraphSource(graph, PART, ""), choice_from_text("openvino")).close()
    with pytest.raises(MachineError, match="computes in bf16; found it computes in f32"):
        open_backend(GraphSource(graph, PART, ""), choice_from_text("openvino:CPU:bf16"))


def test_a_device_that_is_not_there_lists_those_that_are(graph: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(MachineError, match=r"an OpenVINO device GPU\.7; found this machine has CPU"):
        open_backend(GraphSource(graph, PART, ""), choice_from_text("openvino:GPU.7"))


def test_openvino_is_told_the_number_of_threads(graph: Path) -> None:
    openvino = pytest.importorskip("openvino")
    from medsam_edge.runtime.backends.openvino import _properties

    properties = _properties(BackendChoice("openvino", threads=1))
    compiled = openvino.Core().compile_model(str(graph), "CPU", properties)
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert "INFERENCE_NUM_THREADS" not in _properties(BackendChoice("openvino"))


def test_onnx_runtime_plans_no_block_for_the_whole_run(graph: Path) -> None:
    """It would hold more memory than is needed at any one time (docs/performance.md)."""
    pytest.importorskip("onnxruntime")
    opened = open_backend(GraphSource(graph, PART, ""), BackendChoice("onnxruntime"))
    assert opened._session.get_session_options().enable_mem_pattern is False  # type: ignore[attr-defined]


class Breaking:
    """A session or request that fails as the libraries do."""

    def __init__(self, message: str) -> None:
        self.message = message

    def run(self, *_: object, **__: object) -> None:
        raise RuntimeError(self.message)

    infer = run


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("device lost", BackendError),
        ("", BackendError),
        ("BFCArena::AllocateRawInternal Failed to allocate memory", DeviceMemoryError),
        ("[GPU] CL_OUT_OF_RESOURCES", DeviceMemoryError),
    ],
)
def test_a_library_that_fails_while_it_runs_gives_an_error_of_ours(
    opened: Backend, message: str, error: type[Exception]
) -> None:
    broken = Breaking(message)
    name = "_session" if hasattr(opened, "_session") else "_request"
    kept = getattr(opened, name)
    setattr(opened, name, broken)
    with pytest.raises(error):
        run(opened, numbers(1))
    setattr(opened, name, kept)


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_a_graph_with_other_tensors_than_its_manifest_says_is_refused(name: str, graph: Path, kind: str) -> None:
    specs = tuple(replace(spec, name=f"{spec.name}_") for spec in getattr(PART, kind))
    with pytest.raises(BundleError, match=f"the {kind} "):
        open_backend(GraphSource(graph, replace(PART, **{kind: specs}), ""), BackendChoice(name))


def test_importing_openvino_leaves_nothing_behind_and_starts_nothing(tmp_path: Path) -> None:
    """Its telemetry keeps an identifier in the home folder and reports each import to a server."""
    pytest.importorskip("openvino")
    program = (
        "import sys; from medsam_edge.runtime.backends import choose; "
        "assert choose.status('openvino').version; "
        "print([name for name in sys.modules if 'telemetry' in name and sys.modules[name] is not None "
        "and not name.startswith('openvino.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert list(tmp_path.iterdir()) == []
