"""A fresh installation without any extra: every verb that cannot work says what to install, the others work."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from medsam_edge.runtime.errors import ExitCode

# Hides packages as if they were not installed, then runs one command line after the other in one process.
PROGRAM = """
import contextlib, importlib.machinery, io, json, sys

hidden = {"onnxruntime", "openvino", "torch", "onnx", "onnxscript", "safetensors", "scipy", "skimage", "tensorrt"}
find_spec = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in hidden else find_spec(name, *rest)
)
from medsam_edge.cli import main

answers = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["medsam-edge", *words]
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""
NEEDY = {
    "export": ("demo", "--out", "OUT"),
    "verify": ("BUNDLE",),
    "segment": ("BUNDLE", "IMAGE", "--box", "1,1,9,9", "--out", "OUT"),
    "bench": ("BUNDLE",),
    "demo": ("--out", "OUT"),
}
CONTENT = {
    "doctor": (),
    "inspect": ("BUNDLE",),
    "verify fake": ("BUNDLE", "--backend", "fake"),
    "verify source": ("BUNDLE", "--backend", "fake", "--source", "demo"),
    "verify openvino": ("BUNDLE", "--backend", "openvino"),
}
LINES: dict[str, Sequence[str]] = {**NEEDY, **CONTENT}


@pytest.fixture(scope="module")
def bare(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each line answered: exit code, standard output, standard error."""
    folder = tmp_path_factory.mktemp("bare")
    places = {"BUNDLE": str(tiny_bundle), "OUT": str(folder / "out"), "IMAGE": str(folder / "none.png")}
    lines = [[verb.split()[0], *(places.get(word, word) for word in words)] for verb, words in LINES.items()]
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir())
    return dict(zip(LINES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("verb", [*NEEDY, "verify openvino", "verify source"])
def test_a_verb_that_needs_an_extra_names_it_in_one_line(bare: dict[str, Any], verb: str) -> None:
    code, out, err = bare[verb]
    assert (code, out) == (ExitCode.ENVIRONMENT, "")
    assert err.count("\n") == 1
    extra = "export" if verb == "verify source" else "openvino"
    assert f"pip install 'medsam-edge[{extra}]'" in err


def test_doctor_says_what_to_type_for_everything(bare: dict[str, Any]) -> None:
    code, out, err = bare["doctor"]
    assert (code, err) == (0, "")
    for extra in ("ort", "openvino", "export"):
        assert f"pip install 'medsam-edge[{extra}]'" in out


def test_inspect_needs_nothing(bare: dict[str, Any]) -> None:
    code, out, err = bare["inspect"]
    assert (code, err) == (0, "")
    assert "tiny (sam_vit)" in out


def test_verify_needs_nothing_but_its_backend(bare: dict[str, Any]) -> None:
    code, out, err = bare["verify fake"]
    assert (code, err) == (0, "")
    assert "Same model: fake f32" in out
