"""The verb `build`: what it prints, with which code it ends; building itself is proven in tests/runtime/engines."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import pytest
from medsam_edge.benchmarks import building
from medsam_edge.benchmarks.building import Built, LayerTime, consistency, passed
from medsam_edge.benchmarks.verification import verify
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.engines.build import BuildResult, Engine
from medsam_edge.runtime.engines.census import Census
from medsam_edge.runtime.engines.engine_file import EngineFacts
from medsam_edge.runtime.errors import DeviceMemoryError, ExitCode
from medsam_edge.runtime.parity import Check, Limits

Cli = Callable[..., CompletedProcess[str]]
FACTS = EngineFacts(
    "encoder", "fp16", (1, 4), (), Census(9, {"fp16": 3, "fp32": 1}, 0), (5 << 20,), None, 0, None, 2.0, 3, 1, ()
)  # fmt: skip
LAYERS = (LayerTime("myelin", 3.0), LayerTime("cast", 0.5))
ENGINE = Engine("encoder", "fp16", "rebuilt", "version was 10.3, is 10.7", "a" * 64, 7 << 20, FACTS)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Built], None]:
    return lambda built: monkeypatch.setattr(building, "build_bundle", lambda *_: built)


def result(bundle: Path, good: bool = True, drawn: bool = True) -> Built:
    made = BuildResult(bundle, Path("s"), "tensorrt", "10.7", {"compute_capability": "8.7"}, (), (ENGINE,))
    if not drawn:
        return Built(made, None, (), (), "built for other GPUs")
    return Built(made, verify(open_bundle(bundle), ["fake"]), (Check("4 boxes at once", good, "as alone"),), LAYERS, "")


def test_engines_with_their_types_and_masks_are_shown(
    cli: Cli, tiny_bundle: Path, answer: Callable[[Built], None]
) -> None:
    answer(result(tiny_bundle))
    done = cli("build", tiny_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "tensorrt 10.7",
        "fp16 75%,",
        "rebuilt",
        "compute capability 8.7",
        "4 boxes at once",
        "3.50 ms",
        "tensor",
    ):
        assert words in done.stdout
    found = json.loads(cli("build", tiny_bundle, "--json").stdout)
    assert found["schema"] == "medsam-edge/build/1"
    assert found["build"]["engines"][0]["facts"]["census"]["operations"] == {"fp16": 3, "fp32": 1}


def test_masks_that_differ_end_with_the_parity_code(
    cli: Cli, tiny_bundle: Path, answer: Callable[[Built], None]
) -> None:
    answer(result(tiny_bundle, good=False))
    assert cli("build", tiny_bundle).returncode == ExitCode.PARITY


def test_engines_for_another_gpu_are_said_not_to_have_drawn_anything(
    cli: Cli, tiny_bundle: Path, answer: Callable[[Built], None]
) -> None:
    answer(result(tiny_bundle, drawn=False))
    done = cli("build", tiny_bundle)
    assert done.returncode == 0
    assert "Masks: not run, built for other GPUs" in done.stdout
    assert passed(result(tiny_bundle, drawn=False))


def test_a_dry_run_prints_commands_and_builds_nothing(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("build", tiny_bundle, "--precision", "fp32", "--dry-run", "--state", tmp_path / "s")
    assert done.returncode == 0
    assert done.stdout.count("trtexec --onnx=") == 2
    assert (
        len(json.loads(cli("build", tiny_bundle, "--precision", "fp32", "--dry-run", "--json").stdout)["commands"]) == 2
    )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--backend", "openvino"), ExitCode.USAGE),
        (("--precision", "fp8"), ExitCode.USAGE),
        (("--workspace", "much"), ExitCode.USAGE),
        (("--for", "8.6"), ExitCode.USAGE),
        (("--precision", "fp16"), ExitCode.ARTEFACT),
    ],
)
def test_what_cannot_be_built_is_one_line(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, words: tuple[str, ...], code: ExitCode
) -> None:
    done = cli("build", tiny_bundle, "--state", tmp_path / "s", *words)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert not (tmp_path / "s").exists()


def test_without_the_library_the_extra_is_named(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = cli("build", tiny_bundle, "--precision", "fp32", "--state", tmp_path / "s")
    assert done.returncode == ExitCode.ENVIRONMENT
    assert "pip install 'medsam-edge[tensorrt]'" in done.stderr


def test_an_old_library_is_a_version_mismatch(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ModuleType("tensorrt")
    old.__dict__["__version__"] = "8.6.1"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    done = cli("build", tiny_bundle, "--precision", "fp32", "--state", tmp_path / "s")
    assert done.returncode == ExitCode.ENVIRONMENT
    assert "TensorRT from 10.3 to 11; found 8.6.1" in done.stderr


def test_memory_that_runs_out_ends_with_its_code(cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DeviceMemoryError("enough memory to build the encoder", "a workspace of 512 MiB at level 3", "add swap")

    monkeypatch.setattr(building, "build_bundle", full)
    done = cli("build", tiny_bundle)
    assert done.returncode == ExitCode.OUT_OF_MEMORY
    assert "512 MiB at level 3" in done.stderr


def test_a_box_gets_the_same_mask_in_every_profile(tiny_bundle: Path, tmp_path: Path) -> None:
    checks = consistency(open_bundle(tiny_bundle), "fake", (1, 4, 16), tmp_path / "s", Limits())
    assert [(check.name, check.passed) for check in checks] == [
        ("1 boxes at once", True),
        ("4 boxes at once", True),
        ("16 boxes at once", True),
    ]
