"""`inspect` on a bundle with calibration records, and `quantize` with its picture."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from medsam_edge.calibration.commit import committed
from medsam_edge.calibration.document import new_document
from medsam_edge.calibration.outcome import Candidate, Outcome
from medsam_edge.calibration.scores import Drop, Group, Limits
from medsam_edge.calibration.speed import Speed
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode

Cli = Callable[..., CompletedProcess[str]]
CASES = [
    {
        "schema": "medsam-edge/cases/1",
        "purpose": "evaluation",
        "source": "csv",
        "seed": 0,
        "cases": [{"id": "a", "modality": "CT", "pixel_sha256": "0" * 64, "patient_sha256": None}],
    }
]
DROP = Drop(1, 3, 1, 0.001, 0.99, 0.98, 0.97, "a", 0, (Group("CT", 3, 1, 0.001, None, 0.99, 0),))
OUTCOME = Outcome(
    bundle="/b/x.bundle",
    digest="0" * 64,
    target="onnxruntime",
    gating=True,
    limits=Limits(),
    margin=1.1,
    warnings=(),
    recipes=(),
    sensitivities=(),
    tried=(),
    layers=(),
    candidates=(
        Candidate("onnxruntime", 9, None, "", (), None, 20, None, ()),
        Candidate(
            "onnxruntime:CPU:int8",
            5,
            7,
            "mse",
            (),
            DROP,
            10,
            Speed(10, "onnxruntime", 20, 2, 1.5, 2.5, 9),
            (),
            chosen=True,
        ),
    ),
    notes=(),
    peak_mib=1.5,
    reused=False,
    chosen="onnxruntime:CPU:int8",
)


@pytest.fixture
def calibrated(own_bundle: Path) -> Path:
    """A bundle with a record of ours and one of another version."""
    committed(open_bundle(own_bundle), "onnxruntime", None, new_document({"cases": CASES}, OUTCOME))
    committed(open_bundle(own_bundle), "later", None, {"schema": "medsam-edge/record/calibration/99", "x": 1})
    return own_bundle


@pytest.fixture
def quantized(monkeypatch: pytest.MonkeyPatch) -> None:
    """`quantize` that takes no time."""
    pytest.importorskip("onnx")
    monkeypatch.setattr("medsam_edge.benchmarks.quantizing.quantize_bundle", lambda *_: OUTCOME)


@pytest.mark.parametrize("state", [(), ("--state", "STATE")])
def test_inspect_shows_what_was_calibrated(cli: Cli, calibrated: Path, tmp_path: Path, state: tuple[str, ...]) -> None:
    done = cli("inspect", calibrated, *(str(tmp_path / "state") if word == "STATE" else word for word in state))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Calibration for onnxruntime" in done.stdout
    assert "calibration-later: not shown" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("state", [(), ("--state", "STATE")])
def test_its_json_has_every_record_whole(cli: Cli, calibrated: Path, tmp_path: Path, state: tuple[str, ...]) -> None:
    words = (str(tmp_path / "state") if word == "STATE" else word for word in state)
    document = json.loads(cli("inspect", calibrated, "--json", *words).stdout)
    assert document["schema"] == "medsam-edge/inspect/1"
    kinds = {one["kind"]: one for one in document["calibration"]}
    assert kinds["calibration-onnxruntime"]["problem"] == ""
    assert kinds["calibration-onnxruntime"]["record"]["outcome"]["candidates"][1]["memory_bytes"] == 7
    assert kinds["calibration-later"]["record"]["x"] == 1
    assert "record/calibration/99" in kinds["calibration-later"]["problem"]


@pytest.mark.usefixtures("quantized")
def test_quantize_draws_beside_the_journal_and_says_where(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = cli("quantize", tmp_path / "x.bundle")
    assert (done.returncode, done.stderr) == (0, "")
    picture = tmp_path / "x.bundle.work" / "front.svg"
    assert f"Picture: {picture}" in done.stdout.replace("\n", "") or str(picture.name) in done.stdout
    assert picture.is_file()
    document = json.loads(cli("quantize", tmp_path / "x.bundle", "--json").stdout)
    assert (document["schema"], document["plot"]) == ("medsam-edge/quantize/1", str(picture))
    assert document["candidates"][0]["memory_bytes"] is None


@pytest.mark.usefixtures("quantized")
def test_quantize_draws_where_it_was_asked_to(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert cli("quantize", tmp_path / "x.bundle", "--plot", tmp_path / "a.png").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.usefixtures("quantized")
def test_a_picture_that_was_asked_for_and_failed_is_an_error_after_the_result(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = cli("quantize", tmp_path / "x.bundle", "--plot", tmp_path / "none" / "a.png")
    assert done.returncode == ExitCode.ENVIRONMENT
    assert "Chosen: onnxruntime:CPU:int8" in done.stdout
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("quantized")
def test_a_picture_of_no_known_format_is_refused_at_once(cli: Cli, tmp_path: Path) -> None:
    done = cli("quantize", tmp_path / "x.bundle", "--plot", tmp_path / "a.gif")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
