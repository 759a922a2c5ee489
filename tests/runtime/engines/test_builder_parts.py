"""What a build does where there is a GPU: the engine is asked about itself, and tactics' times are kept."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from medsam_edge.runtime.engines import builder as module
from medsam_edge.runtime.engines.builder import Order, build
from medsam_edge.runtime.engines.engine_file import LayerShare, split
from medsam_edge.runtime.engines.options import GIB, BuildOptions
from medsam_edge.runtime.errors import BackendError, DriverError, WorkspaceError

LAYERS = {"Layers": [{"Name": "_gemm_mha_v2", "LayerType": "kgen", "Outputs": [{"Format/Datatype": "Half"}]}]}


def word(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name)


def tensor(name: str, kind: str, shape: tuple[int, ...]) -> SimpleNamespace:
    return SimpleNamespace(name=name, dtype=word(kind), shape=shape)


IMAGE, OUT = tensor("boxes", "FLOAT", (-1, 4)), tensor("out", "HALF", (-1, 8))
WEIGHTS = tensor("w", "HALF", (4, 8))


class Layer:
    name, num_inputs, num_outputs, type = "m", 2, 1, word("MATRIX_MULTIPLY")

    def get_input(self, index: int) -> SimpleNamespace:
        return (IMAGE, WEIGHTS)[index]

    def get_output(self, _: int) -> SimpleNamespace:
        return OUT


class Config:
    """Notes what it is told, as IBuilderConfig."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.cache, self.refuses = log, b"", False
        self.progress_monitor = self.profiling_verbosity = self.builder_optimization_level = None

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.log.append(f"{pool} {size}")

    def clear_flag(self, flag: str) -> None:
        self.log.append(f"no {flag}")

    def create_timing_cache(self, data: bytes) -> bytes:
        return data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.log.append(f"times {cache!r} {ignore_mismatch}")
        return cache != b"of another device"

    def get_timing_cache(self) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: b"new times")

    def add_optimization_profile(self, profile: Any) -> None:  # noqa: ANN401
        self.log.append(f"profile {profile.shape}")


class Profile:
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shape = (name, *shapes)


class Library(SimpleNamespace):
    """A module `tensorrt` with a GPU; `plan` is what its builder makes."""

    def __init__(self, plan: bytes | None = b"plan", error: str = "", driver: bool = True) -> None:
        self.log: list[str] = []
        one = SimpleNamespace(
            num_layers=1, num_inputs=1, num_outputs=1, get_layer=lambda _: Layer(), get_input=lambda _: IMAGE,
            get_output=lambda _: OUT,
        )  # fmt: skip
        inspector = SimpleNamespace(get_engine_information=lambda _: json.dumps(LAYERS))
        engine = SimpleNamespace(device_memory_size_v2=4096, create_engine_inspector=lambda: inspector)

        def builder(logger: Any) -> SimpleNamespace:  # noqa: ANN401
            if not driver:
                raise TypeError("pybind11::init(): factory function returned nullptr")

            def serialized(*_: object) -> bytes | None:
                if error:
                    logger.log(word("ERROR"), error)
                return plan

            return SimpleNamespace(
                create_network=lambda flags: self.log.append(f"flags {flags}") or one,
                create_builder_config=lambda: Config(self.log),
                create_optimization_profile=Profile,
                build_serialized_network=serialized,
            )

        super().__init__(
            __version__="10.3.0",
            ILogger=type("ILogger", (), {}),
            IProgressMonitor=type("IProgressMonitor", (), {}),
            Builder=builder,
            OnnxParser=lambda *_: SimpleNamespace(parse_from_file=lambda _: True),
            Runtime=lambda _: SimpleNamespace(deserialize_cuda_engine=lambda _: engine),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
            ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
            BuilderFlag=SimpleNamespace(TF32="TF32"),
            LayerInformationFormat=SimpleNamespace(JSON="json"),
            log=self.log,
        )


def order(folder: Path) -> Order:
    options = BuildOptions("enterprise", (1, 4), GIB, 2)
    return Order("g.onnx", "decoder", "fp16", options, str(folder / "engine"), str(folder / "timing"))


def with_library(monkeypatch: pytest.MonkeyPatch, library: Library, has_gpu: bool = True) -> Library:
    monkeypatch.setattr(module, "library", lambda _: library)
    monkeypatch.setattr(module, "_has_gpu", lambda: has_gpu)
    return library


def test_the_library_is_told_everything_and_the_engine_tells_about_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = with_library(monkeypatch, Library())
    (tmp_path / "timing").write_bytes(b"old times")
    facts = build(order(tmp_path), lambda *_: None)
    assert library.log == [
        "flags 2",
        f"workspace {GIB}",
        "no TF32",
        "times b'old times' False",
        "profile ('boxes', (1, 4), (1, 4), (1, 4))",
        "profile ('boxes', (4, 4), (4, 4), (4, 4))",
    ]
    assert (facts.device_memory_bytes, facts.layers) == (4096, LayerShare({"fp16": 1}, 0, "fused"))
    assert facts.census.operations == {"fp16": 8 * 4}
    assert (tmp_path / "timing").read_bytes() == b"new times"
    assert bytes(split(memoryview((tmp_path / "engine").read_bytes()))[1]) == b"plan"


def test_times_of_another_device_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = with_library(monkeypatch, Library())
    (tmp_path / "timing").write_bytes(b"of another device")
    build(order(tmp_path), lambda *_: None)
    assert library.log[3:5] == ["times b'of another device' False", "times b'' False"]


def test_without_a_gpu_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_library(monkeypatch, Library(), has_gpu=False)
    facts = build(order(tmp_path), lambda *_: None)
    assert (facts.device_memory_bytes, facts.layers) == (None, None)


def test_a_builder_that_gives_nothing_is_an_error_with_its_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_library(monkeypatch, Library(None, "no tactics found within workspace limit"))
    with pytest.raises(WorkspaceError, match="decoder: no tactics"):
        build(order(tmp_path), lambda *_: None)
    with_library(monkeypatch, Library(None, "something new"))
    with pytest.raises(BackendError, match="something new"):
        build(order(tmp_path), lambda *_: None)
    assert not (tmp_path / "engine").exists()


def test_a_library_without_a_driver_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_library(monkeypatch, Library(driver=False))
    with pytest.raises(DriverError, match="nullptr"):
        build(order(tmp_path), lambda *_: None)
