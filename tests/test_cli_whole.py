"""The README's commands for timings without weights, one after the other: real processes, nothing replaced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from medsam_edge.runtime.backends.choose import available

README = (Path(__file__).parents[1] / "README.md").read_text()
CHAIN = (
    "medsam-edge export --random-weights medsam-vit-b --out vitb.bundle",
    "medsam-edge verify vitb.bundle",
    "medsam-edge bench vitb.bundle --baseline torch",
)


def test_the_chain_is_the_readmes() -> None:
    assert "\n    ".join(CHAIN) in README


@pytest.mark.slow
def test_the_readmes_chain_runs_from_nothing_to_ratios(tmp_path: Path) -> None:
    for module in ("torch", "onnx", "skimage", "cv2"):
        pytest.importorskip(module)
    if not available():
        pytest.skip("needs a backend")

    def run(command: str) -> list[str]:
        words = [sys.executable, "-m", "medsam_edge.cli", *command.replace("medsam-vit-b", "demo").split()[1:]]
        env = {**os.environ, "COLUMNS": "80"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 80
        return done.stdout.splitlines()

    exported, verified, measured = run(CHAIN[0]), run(CHAIN[1]), run(f"{CHAIN[2]} --rounds 2")
    assert exported[-1].startswith("Took ")
    assert verified[0].startswith("random weights: latency only")
    text = "\n".join(measured)
    latency, rest = text.split("Start in ms", 1)
    assert "PyTorch eager" in latency
    assert "vs eager" in latency
    assert rest.startswith(", peak memory in MiB, share of PyTorch eager's")
    for name in available():
        assert f"{name} f32: times as fast" in latency
    assert "PyTorch eager" in rest
