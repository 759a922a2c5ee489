"""`quantize` through the command line: what cannot be used is one line, and a refusal is an exit code."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from medsam_edge.calibration import trial, wanted
from medsam_edge.calibration.case_set import CaseRef
from medsam_edge.calibration.scores import MaskScore
from medsam_edge.calibration.speed import Speed
from medsam_edge.calibration.work import Entry
from medsam_edge.runtime.errors import ExitCode
from medsam_edge.runtime.types import AnyArray

pytest.importorskip("onnxruntime")
Cli = Callable[..., CompletedProcess[str]]
FEW = ("--calibration-cases", 2, "--selection-cases", 2, "--evaluation-cases", 8)


def pixels(seed: int = 0) -> AnyArray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


LABELS = np.zeros((20, 30), np.uint8)
LABELS[4:12, 5:20] = 1


def folder(path: Path, modality: str = "CT", **bad: object) -> Path:
    """Ten good cases of ten patients, of which the last one is changed."""
    path.mkdir()
    rows = ["id,file,modality,patient,split"]
    for number in range(10):
        arrays = {"imgs": pixels(number), "gts": LABELS} | (bad if number == 9 else {})
        kept = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
        np.savez(path / f"c{number}.npz", **kept)  # type: ignore[arg-type]  # numpy's stub takes names for options
        rows.append(f"c{number},c{number}.npz,{modality if number == 9 else 'CT'},P{number},")
    (path / "cases.csv").write_text("\n".join(rows) + "\n")
    return path


BAD: dict[str, tuple[dict[str, object], str]] = {
    "all-constant": ({"imgs": np.full((20, 30, 3), 7, np.uint8)}, "not all one colour"),
    "empty": ({"gts": LABELS * 0}, "background only"),
    "no mask": ({"gts": None, "boxes": [[1, 1, 9, 9]]}, "a case with masks"),
    "NaN": ({"imgs": np.where(pixels() > 250, np.nan, pixels())}, "NaN or infinite"),
    "modality": ({"modality": "Ultrasond"}, "write Ultrasound"),
}


@pytest.fixture
def refused(cli: Cli, real_bundle: Path) -> Callable[..., str]:
    """Run it; nothing may be written, neither to the bundle nor beside it."""
    before = {path: path.read_bytes() for path in real_bundle.rglob("*") if path.is_file()}

    def run(code: ExitCode, *words: object) -> str:
        done = cli("quantize", real_bundle, *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("medsam-edge: expected ")
        assert done.stderr.count("\n") == 1
        assert {path: path.read_bytes() for path in real_bundle.rglob("*") if path.is_file()} == before
        assert not real_bundle.with_name("real.bundle.work").exists()
        return done.stderr

    return run


@pytest.mark.parametrize("name", BAD)
def test_a_case_that_cannot_be_used_is_named(refused: Callable[..., str], tmp_path: Path, name: str) -> None:
    bad, said = BAD[name]
    line = refused(ExitCode.USAGE, "--cases", folder(tmp_path / "cases", **bad), "--target", "onnxruntime")  # type: ignore[arg-type]
    assert said in line
    assert "c9" in line


def test_a_corrupted_case_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    path = folder(tmp_path / "cases") / "c9.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert "c9.npz" in refused(ExitCode.USAGE, "--cases", path.parent)


def test_evaluation_cases_of_the_same_patients_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    """Other pixels of the same people."""
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other", imgs=pixels(77))
    for number in range(9):
        np.savez(other / f"c{number}.npz", imgs=pixels(100 + number), gts=LABELS)
    assert "common patient" in refused(ExitCode.USAGE, "--cases", one, "--evaluation", other)


def test_too_few_patients_to_judge_on_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    line = refused(ExitCode.USAGE, "--cases", folder(tmp_path / "cases"), "--target", "onnxruntime")
    assert "at least 8 patients to judge on; found 4 patients" in line


@pytest.mark.parametrize("precision", ["bf16", "int8+bf16"])
def test_bf16_without_the_hardware_is_the_machines_fault(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(wanted, "processor_features", lambda: ("avx2",))
    assert "avx512_bf16" in refused(ExitCode.ENVIRONMENT, "--precision", precision, *FEW)


@pytest.mark.parametrize(("option", "value"), [("--min-p5-parity", 1), ("--max-low-masks", 0)])
def test_each_limit_of_the_tail_refuses_alone_and_is_remembered(
    cli: Cli, real_bundle: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: float
) -> None:
    """One layer in int8 changes no mask; one of the last case's is taken for another."""
    monkeypatch.setattr(Speed, "pays", lambda _self, _margin: True)
    real = trial._scores

    def scores(ref: CaseRef, entry: Entry) -> list[MaskScore]:
        found = list(real(ref, entry))
        return [replace(found[0], parity=0.5), *found[1:]] if ref.origin == 7 else found

    monkeypatch.setattr(trial, "_scores", scores)
    free = ("--max-dsc-drop", 1, "--worst-dsc-drop", 1, "--min-p5-parity", 0, "--max-low-masks", 1)
    words = ("quantize", real_bundle, "--target", "onnxruntime", *FEW, *free, "--json")
    refused = cli(*words, option, value)
    assert refused.returncode == ExitCode.PARITY, refused.stderr
    assert not json.loads(refused.stdout)["reused"]
    second = cli(*words, option, value)
    assert second.returncode == ExitCode.PARITY
    assert json.loads(second.stdout)["reused"]
    taken = cli(*words)
    assert (taken.returncode, json.loads(taken.stdout)["chosen"]) == (ExitCode.OK, "onnxruntime:CPU:int8")
