"""Checkpoints that are none, through `export`: one line, the right exit code, the old bundle untouched."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from medsam_edge.runtime.errors import ExitCode
from medsam_edge.runtime.types import Case

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
from medsam_edge.export import checkpoint, unpickle  # noqa: E402 - needs both

Cli = Callable[..., CompletedProcess[str]]
LINE = re.compile(r"medsam-edge: expected .+; found .+\. To mend it: .+\.\n")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tiny_cases: tuple[Case, ...]) -> None:
    """Let `export` get as far as the checkpoint at once, and read it without a process that imports PyTorch again."""
    monkeypatch.setattr("medsam_edge.runtime.backends.choose.available", lambda: ("onnxruntime",))
    monkeypatch.setattr("medsam_edge.benchmarks.cases.golden_cases", lambda **_: tiny_cases)
    monkeypatch.setattr(checkpoint, "_unpickle", unpickle.convert)


def content(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Code:
    """Unpickled, it would write a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return io.open, (str(self.victim), "w")


def bad_checkpoint(folder: Path, name: str) -> Path:
    path, tensors = folder / name, {"backbone.conv1.weight": torch.zeros(64, 64)}
    match path.stem:
        case "text":
            path.write_text("version https://git-lfs.github.com/spec/v1\n")
        case "code":
            torch.save({"model": Code(folder / "victim")}, path)
        case "foreign" if path.suffix == ".safetensors":
            safetensors.save_file(tensors, path)
        case _:
            torch.save(tensors, path)
    if path.stem == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("text.pth", ExitCode.ARTEFACT, "text.pth"),
        ("text.safetensors", ExitCode.ARTEFACT, "text.safetensors"),
        ("cut.pth", ExitCode.ARTEFACT, "cut.pth"),
        ("code.pth", ExitCode.ARTEFACT, "run code"),
        ("foreign.safetensors", ExitCode.ARTEFACT, "backbone.conv1.weight"),
        ("weights.h5", ExitCode.ARTEFACT, ".safetensors"),
        ("none/there.pth", ExitCode.ENVIRONMENT, "there.pth"),
    ],
)
def test_what_is_no_checkpoint(
    cli: Cli, own_bundle: Path, tmp_path: Path, name: str, code: ExitCode, words: str
) -> None:
    path = tmp_path / name if "/" in name else bad_checkpoint(tmp_path, name)
    before = content(own_bundle)
    done = cli("export", path, "--out", own_bundle, "--profile", "medsam", "--json")
    assert done.returncode == code
    line = done.stderr.removeprefix(f"· reading {path.name}\n")
    assert LINE.fullmatch(line)
    assert words in line
    assert json.loads(done.stdout)["exit_code"] == code
    assert content(own_bundle) == before
    assert not (tmp_path / "victim").exists()


def test_a_folder_of_other_things_is_not_exported_into(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    done = cli("export", bad_checkpoint(tmp_path, "foreign.safetensors"), "--out", tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert LINE.fullmatch(done.stderr)
    assert "thesis.tex" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.safetensors", "thesis.tex"]


def test_weights_that_do_not_say_their_preprocessing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_edge.export.pipeline.model_of", lambda _: None)
    done = cli("export", bad_checkpoint(tmp_path, "foreign.safetensors"), "--out", tmp_path / "out")
    assert done.returncode == ExitCode.USAGE
    assert "--profile medsam" in done.stderr
    assert not (tmp_path / "out").exists()
