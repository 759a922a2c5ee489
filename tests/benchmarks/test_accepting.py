"""`accept`: what is tried, what becomes of it, and that nobody is signed off without having drawn the masks."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from medsam_edge.benchmarks import accepting
from medsam_edge.benchmarks.acceptance import FAILED, LATENCY_ONLY, NOT_RUN, PASSED, read_record
from medsam_edge.benchmarks.accepting import Accepted, Terms, accept, chosen
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.engines.board import Board
from medsam_edge.runtime.engines.build import Engine
from medsam_edge.runtime.engines.census import Census
from medsam_edge.runtime.engines.engine_file import EngineFacts
from medsam_edge.runtime.engines.gpu import Gpu
from medsam_edge.runtime.errors import (
    BackendError,
    DeviceMemoryError,
    DriverError,
    EngineError,
    ExitCode,
    StorageError,
    UsageError,
)
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.parity import HALF, Check, Limits

Asked = list[tuple[str, object]]
FACTS = EngineFacts(
    "decoder", "fp16", (1, 4), (), Census(9, {"fp16": 3, "fp32": 1}, 0), (5 << 20,), None, 0, None, 2.0, 3, 1, ()
)  # fmt: skip
ENGINES = tuple(Engine(part, "fp16", "built", "", "a" * 64, 7 << 20, FACTS) for part in ("encoder", "decoder"))


@pytest.fixture
def run(asked: Asked, tmp_path: Path, no_gpu: None) -> Callable[..., Accepted]:
    """`accept` with the fake backend, without processes."""

    def go(bundle: Path, *backends: str, **terms: object) -> Accepted:
        asked_for = Terms(backends or ("fake",), tmp_path / "state", rounds=2, **terms)  # type: ignore[arg-type]
        return accept(bundle, tmp_path / "out", asked_for, lambda *_: None, lambda _: None)

    return go


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Gpu:
        raise DriverError("an NVIDIA driver with a GPU", "no driver", "install one")

    monkeypatch.setattr(accepting, "gpu", missing)


def outcomes(accepted: Accepted) -> dict[str, str]:
    return {verdict.backend: verdict.outcome for verdict in accepted.record.verdicts}


def test_a_backend_that_draws_the_masks_is_measured_and_signed_off(
    run: Callable[..., Accepted], tiny_bundle: Path, tmp_path: Path
) -> None:
    found = run(tiny_bundle, signed_by="A.\nPerson")
    record = found.record
    assert (record.passed, record.exit_code, record.signed_off) == (True, 0, ("fake",))
    assert (record.bundle.golden_cases, record.bundle.golden_masks, record.signed_by) == (2, 5, "A. Person")
    (verdict,) = record.verdicts
    assert verdict.outcome == PASSED
    assert verdict.limits == Limits()
    assert {check.name for check in verdict.checks} >= {"tensor", "mask"}
    assert verdict.masks[-1].dsc.worst == 1
    assert verdict.tasks
    assert verdict.measured
    assert [latency.n for latency in verdict.measured.latencies] == [2] * 6
    assert read_record(found.json_file)["digest"] == record.digest
    assert "PASSED. Signed off for fake." in found.page_file.read_text()
    assert str(tmp_path) not in found.json_file.read_text() + found.page_file.read_text()


def test_other_masks_fail_and_are_not_measured(
    run: Callable[..., Accepted],
    asked: Asked,
    write_bundle: Callable[..., Path],
    tiny_golden: tuple[Golden, ...],
    tmp_path: Path,
) -> None:
    wrong = replace(tiny_golden[1], masks=np.roll(tiny_golden[1].masks, 9, axis=2))
    found = run(write_bundle(tmp_path / "b", (tiny_golden[0], wrong)))
    assert outcomes(found) == {"fake": FAILED}
    assert (found.record.exit_code, found.record.signed_off) == (ExitCode.PARITY, ())
    assert (found.record.measurement, asked) == (None, [])
    assert "mask" in found.record.verdicts[0].reason


def test_random_weights_are_measured_and_never_signed_off(
    run: Callable[..., Accepted], write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...], tmp_path: Path
) -> None:
    found = run(write_bundle(tmp_path / "b", tiny_golden, trained=False))
    assert outcomes(found) == {"fake": LATENCY_ONLY}
    assert (found.record.exit_code, found.record.signed_off, found.record.passed) == (ExitCode.PARITY, (), False)
    assert found.record.verdicts[0].measured


def test_without_a_gpu_tensorrt_is_not_run_and_others_are(
    run: Callable[..., Accepted], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "available", lambda: ())
    both = run(tiny_bundle, "fake", "tensorrt").record
    assert [(one.backend, one.outcome, one.exit_code) for one in both.verdicts] == [
        ("fake", PASSED, 0),
        ("tensorrt", NOT_RUN, 3),
    ]
    assert (both.signed_off, both.passed, both.exit_code) == (("fake",), False, ExitCode.ENVIRONMENT)
    assert (both.device.gpu, both.device.no_gpu) == (None, "no driver")
    monkeypatch.setattr(accepting, "chosen", lambda *_: list(map(accepting.choice_from_text, ("fake", "tensorrt"))))
    default = accept(
        tiny_bundle, Path(run(tiny_bundle).json_file).parent, Terms(rounds=1), lambda *_: None, lambda _: None
    )
    assert (default.record.passed, default.record.exit_code, default.record.signed_off) == (True, 0, ("fake",))
    assert "tensorrt: not run." in default.page_file.read_text()


def test_where_nothing_can_run_nothing_passes(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_gpu: None
) -> None:
    monkeypatch.setattr(accepting, "available", lambda: ())
    record = accept(tiny_bundle, tmp_path / "out", Terms(), lambda *_: None, lambda _: None).record
    assert [(one.backend, one.outcome) for one in record.verdicts] == [("tensorrt", NOT_RUN)]
    assert (record.passed, record.exit_code) == (False, ExitCode.ENVIRONMENT)


@dataclass
class Gpus:
    """A GPU that answers as the fake backend does, and what was asked of its engines."""

    kept: bool = True
    built: int = 0
    wide: bool = True


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    here, real_verify, real_bench = Gpus(), accepting.verify, accepting.bench
    encoder, decoder = (
        SimpleNamespace(entry=SimpleNamespace(part=name, precision="fp16"), source=name, choice=name)
        for name in ("encoder", "decoder")
    )

    def find(*_: object) -> SimpleNamespace:
        if not here.kept:
            raise EngineError("an engine", "none", "build it")
        return SimpleNamespace(sha256="b" * 64, bytes=1)

    def build(*_: object) -> SimpleNamespace:
        here.built += 1
        return SimpleNamespace(engines=ENGINES)

    def sized(_: Bundle, name: str, sizes: tuple[int, ...], __: Path, limits: Limits) -> tuple[Check, ...]:
        assert (name, sizes, limits) == ("tensorrt", (1, 4), HALF)
        return (Check("4 boxes at once", here.wide, "as alone"),)

    monkeypatch.setattr(accepting, "gpu", lambda: Gpu("Orin", "8.7", 8 << 30, True, "12.6"))
    monkeypatch.setattr(accepting, "resolve", lambda _: None)
    monkeypatch.setattr(accepting, "plan", lambda *_: ((encoder, decoder), ()))
    monkeypatch.setattr(accepting, "find_engine", find)
    monkeypatch.setattr(accepting, "read_engine", lambda *_: (FACTS, b""))
    monkeypatch.setattr(accepting, "build_engines", build)
    monkeypatch.setattr(accepting, "consistency", sized)
    monkeypatch.setattr(
        accepting, "verify", lambda bundle, _, *rest, **more: real_verify(bundle, ["fake"], *rest, **more)
    )
    monkeypatch.setattr(
        accepting, "bench", lambda bundle, _, *rest, **more: real_bench(bundle, ["fake"], *rest, **more)
    )
    return here


@pytest.mark.parametrize("kept", [True, False])
def test_engines_that_are_there_are_kept_and_missing_ones_built(
    asked: Asked, gpus: Gpus, tiny_bundle: Path, tmp_path: Path, kept: bool
) -> None:
    gpus.kept = kept
    found = accept(
        tiny_bundle, tmp_path / "out", Terms(["tensorrt"], tmp_path / "state", 1), lambda *_: None, lambda _: None
    )
    assert gpus.built == (0 if kept else 1)
    (verdict,) = found.record.verdicts
    assert (verdict.outcome, verdict.limits, len(verdict.engines)) == (PASSED, HALF, 2)
    assert verdict.engines[0].outcome == ("reused" if kept else "built")
    assert "4 boxes at once" in [check.name for check in verdict.checks]
    assert found.record.signed_off == ("tensorrt",)
    page = found.page_file.read_text()
    for words in ("Orin, compute capability 8.7", "fp16 75%, fp32 25%", "decoder fp16"):
        assert words in page


def test_a_profile_that_draws_otherwise_fails(asked: Asked, gpus: Gpus, tiny_bundle: Path, tmp_path: Path) -> None:
    gpus.wide = False
    found = accept(
        tiny_bundle, tmp_path / "out", Terms(["tensorrt"], tmp_path / "state", 1), lambda *_: None, lambda _: None
    )
    assert (outcomes(found), found.record.exit_code) == ({"tensorrt": FAILED}, ExitCode.PARITY)
    assert found.record.verdicts[0].reason == "failed: 4 boxes at once"


def test_a_build_without_memory_is_written_down_with_its_code(
    asked: Asked, gpus: Gpus, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DeviceMemoryError("enough memory", "a workspace of 512 MiB", "add swap")

    gpus.kept = False
    monkeypatch.setattr(accepting, "build_engines", full)
    found = accept(
        tiny_bundle, tmp_path / "out", Terms(["tensorrt"], tmp_path / "state", 1), lambda *_: None, lambda _: None
    )
    assert (outcomes(found), found.record.exit_code) == ({"tensorrt": FAILED}, ExitCode.OUT_OF_MEMORY)
    assert "512 MiB" in found.page_file.read_text()


def test_a_measurement_that_fails_signs_off_nobody(
    run: Callable[..., Accepted], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise BackendError("an answer", "a process that died", "run it again")

    monkeypatch.setattr(accepting, "bench", dies)
    record = run(tiny_bundle).record
    assert (record.signed_off, record.passed, record.exit_code) == ((), False, ExitCode.ENVIRONMENT)
    assert record.measurement
    assert "died" in record.measurement.invalid


def test_a_power_mode_that_changed_voids_the_figures(
    run: Callable[..., Accepted], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = iter(("15W", "MAXN"))
    real = accepting.board()
    monkeypatch.setattr(accepting, "board", lambda: replace(real, l4t="36.4.3", power_mode=next(modes)))
    found = run(tiny_bundle)
    assert (found.record.signed_off, found.record.exit_code) == ((), ExitCode.MEASUREMENT)
    assert "the power mode was 15W first and MAXN at last" in found.page_file.read_text()
    assert isinstance(found.record.device.before, Board)


def test_what_is_tried_by_default_follows_from_machine_and_bundle(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "available", lambda: ("onnxruntime",))
    bundle = open_bundle(tiny_bundle)
    assert list(map(str, chosen(bundle, None))) == ["onnxruntime", "tensorrt"]
    (encoder,) = (one for one in bundle.manifest.graphs if one.part == "encoder")
    made = [replace(encoder, precision=one, targets=("tensorrt",)) for one in ("fp32", "fp16", "int8")]
    for count, wanted in ((1, ["tensorrt:GPU:f32"]), (2, ["tensorrt"]), (3, ["tensorrt:GPU:int8+f16", "tensorrt"])):
        other = replace(bundle, manifest=replace(bundle.manifest, graphs=tuple(made[:count])))
        assert list(map(str, chosen(other, None))) == ["onnxruntime", *wanted]
    assert list(map(str, chosen(bundle, ["fake", "fake"]))) == ["fake"]
    with pytest.raises(UsageError, match="'tensorflow'"):
        chosen(bundle, ["tensorflow"])


def test_a_place_that_cannot_be_written_is_known_before_the_work(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(accepting, "_tried", lambda *_: pytest.fail("it began"))
    with pytest.raises(StorageError):
        accept(tiny_bundle, tmp_path / "file" / "out", Terms(["fake"]), print, print)


def test_it_needs_neither_pytorch_nor_onnx(tiny_bundle: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("torch", "onnx", "onnxscript", "scipy", "skimage", "safetensors", "cv2"):
        (blocked / f"{name}.py").write_text(f"raise ImportError('{name} must not be needed')\n")
    words = ("accept", tiny_bundle, "--backend", "fake", "--rounds", "1", "--out", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "medsam_edge.cli", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(blocked), os.environ.get("PYTHONPATH", "")))},
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_record(tmp_path / "out" / "acceptance.json")["signed_off"] == ["fake"]
