import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import typer
from medsam_edge import __version__
from medsam_edge.cli import app
from medsam_edge.runtime import errors
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode, MedSAMEdgeError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.outputs import write_png

ROOT = Path(__file__).parents[1]
Cli = Callable[..., CompletedProcess[str]]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VERBS = ("export", "quantize", "build", "segment", "verify", "bench", "accept", "inspect", "doctor", "demo")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    write_png(path, np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8))
    return path


@pytest.fixture
def failing_bundle(tmp_path: Path, write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...]) -> Path:
    masks = np.roll(tiny_golden[1].masks, 9, axis=2)
    return write_bundle(tmp_path / "failing.bundle", (tiny_golden[0], replace(tiny_golden[1], masks=masks)))


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def diagnose() -> None:
        raise error

    monkeypatch.setattr("medsam_edge.runtime.doctor.diagnose", diagnose)


def descendants(kind: type[MedSAMEdgeError]) -> list[type[MedSAMEdgeError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in descendants(child))]


def test_the_verbs_are_those_of_the_issue() -> None:
    assert tuple(COMMANDS) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_explains_every_option(cli: Cli, verb: str) -> None:
    done = cli(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for parameter in COMMANDS[verb].params:
        name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
        assert name in done.stdout
        assert parameter.help
    assert "--json" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_help_of_all_names_the_verbs_and_the_exit_codes(cli: Cli) -> None:
    done = cli("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    for code in set(ExitCode) - {ExitCode.OK}:
        assert f"{int(code)}" in done.stdout.partition("Exit codes")[2]


def test_without_a_verb_the_help_is_shown_as_a_usage_error(cli: Cli) -> None:
    assert cli().returncode == ExitCode.USAGE


def test_the_version_is_the_packages(cli: Cli) -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"medsam-edge {__version__}\n")


@pytest.mark.parametrize("words", [["nonsense"], ["verify"], ["inspect", "b", "--wrong"], ["bench", "b", "--rounds=0"]])
def test_a_line_that_cannot_be_parsed_is_a_usage_error(cli: Cli, words: Sequence[str]) -> None:
    done = cli(*words)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "Usage: medsam-edge" in done.stderr


def test_a_line_that_cannot_be_parsed_is_json_too_where_that_was_asked_for(cli: Cli) -> None:
    done = cli("bench", "b", "--rounds=0", "--json")
    assert done.returncode == ExitCode.USAGE
    assert json.loads(done.stdout)["exit_code"] == ExitCode.USAGE


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_full_disk_behind_standard_output_is_one_line(flags: Sequence[str]) -> None:
    command = [sys.executable, "-m", "medsam_edge.cli", "doctor", *flags]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.ENVIRONMENT
    assert done.stderr.startswith("medsam-edge: expected standard output that takes the result")
    assert done.stderr.count("\n") == 1


def test_every_verb_that_a_message_names_exists() -> None:
    for path in (*ROOT.glob("*.py"), *(ROOT / "runtime").rglob("*.py"), *(ROOT / "export").rglob("*.py")):
        for verb in re.findall(r"`medsam-edge ([a-z]+)", path.read_text()):
            assert verb in VERBS, (path, verb)


def test_verify_shows_four_layers_and_passes(cli: Cli, tiny_bundle: Path) -> None:
    done = cli("verify", tiny_bundle, "--backend", "fake")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("tensor", "second run = first run", "Masks against the source's", "Masks against the reference"):
        assert words in done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_verify_of_other_masks_is_a_parity_failure_with_the_whole_report(
    cli: Cli, failing_bundle: Path, flags: Sequence[str]
) -> None:
    done = cli("verify", failing_bundle, "--backend", "fake", *flags)
    assert (done.returncode, done.stderr) == (ExitCode.PARITY, "")
    if flags:
        checks = json.loads(done.stdout)["backends"][0]["checks"]
        assert [check["name"] for check in checks if not check["passed"]] == ["mask"]
    else:
        assert "FAIL" in done.stdout


def test_verify_says_that_random_weights_prove_nothing(
    cli: Cli, tmp_path: Path, write_bundle: Callable[..., Path], tiny_golden: tuple[Golden, ...]
) -> None:
    path = write_bundle(tmp_path / "random.bundle", tiny_golden, trained=False)
    done = cli("verify", path, "--backend", "fake")
    assert done.returncode == ExitCode.OK
    assert done.stdout.startswith("random weights: latency only")
    assert "pass" not in done.stdout.split("\n", 1)[1]
    assert json.loads(cli("verify", path, "--backend", "fake", "--json").stdout)["gating"] is False
    assert "latency only" in cli("bench", path, "--backend", "fake", "--rounds", 1).stdout
    assert "latency only" in cli("inspect", path).stdout
    write_png(tmp_path / "a.png", np.zeros((50, 70, 3), np.uint8))
    told = cli("segment", path, tmp_path / "a.png", "--box", "1,1,9,9", "--backend", "fake", "--out", tmp_path / "out")
    assert "RANDOM WEIGHTS" in told.stdout
    report = json.loads((tmp_path / "out" / "a_report.json").read_text())
    assert report["served_by"]["trained"] is False


def test_verify_takes_cases_and_phantoms(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    labels = np.zeros((30, 40), np.uint8)
    labels[5:20, 5:30] = 1
    np.savez(tmp_path / "2DBox_OCT_a.npz", imgs=np.repeat(labels[..., None], 3, axis=2), gts=labels)
    done = cli("verify", tiny_bundle, "--backend", "fake", "--cases", tmp_path, "--phantoms", 1, "--json")
    found = json.loads(done.stdout)["backends"][0]["tasks"]
    assert done.returncode == 0
    assert "OCT" in [group["modality"] for group in found]
    assert len(found) == 3


def test_segment_writes_and_lists_its_files(cli: Cli, tiny_bundle: Path, image: Path, tmp_path: Path) -> None:
    done = cli("segment", tiny_bundle, image, "--box", "5,5,60,40", "--backend", "fake", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "image_overlay.png" in "".join(done.stdout.split())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "image_report.json",
        "image_labels.png",
        "image_overlay.png",
    }


def test_segment_takes_boxes_from_its_own_label_map(cli: Cli, tiny_bundle: Path, image: Path, tmp_path: Path) -> None:
    words = ("segment", tiny_bundle, image, "--backend", "fake")
    cli(*words, "--box", "5,5,60,40", "--box", "1,1,9,9", "--out", tmp_path)
    done = cli(*words, "--boxes-from", tmp_path / "image_labels.png", "--out", tmp_path / "again", "--json")
    assert json.loads(done.stdout)["results"][0]["objects"] == 2


@pytest.mark.parametrize(
    ("verb", "words", "key"),
    [
        ("doctor", (), "backends"),
        ("inspect", ("BUNDLE",), "manifest"),
        ("verify", ("BUNDLE", "--backend", "fake"), "backends"),
        ("bench", ("BUNDLE", "--backend", "fake", "--rounds", "2"), "candidates"),
        ("segment", ("BUNDLE", "IMAGE", "--backend", "fake", "--box", "5,5,60,40", "--out", "OUT"), "results"),
    ],
)
def test_json_is_one_document_with_the_verbs_schema(
    cli: Cli, tiny_bundle: Path, image: Path, tmp_path: Path, verb: str, words: Sequence[str], key: str
) -> None:
    places = {"BUNDLE": tiny_bundle, "IMAGE": image, "OUT": tmp_path}
    done = cli(verb, *(places.get(word, word) for word in words), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert document["schema"] == f"medsam-edge/{verb}/{2 if verb in ('bench', 'doctor') else 1}"
    assert document[key]


@pytest.mark.parametrize("passed", [True, False])
def test_demo_prints_what_it_found_and_fails_with_its_verification(
    cli: Cli, tiny_bundle: Path, failing_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    demo = pytest.importorskip("medsam_edge.benchmarks.demo", exc_type=ImportError)
    source = tiny_bundle if passed else failing_bundle

    def run_demo(out: Path, say: Callable[[str], None]) -> object:
        say("working")
        bundle = open_bundle(source)
        bench = demo.bench(bundle, ["fake"], demo.Plan(1, 0, False))
        written = demo.Written("a.png", 1, (), 2.0, bench.candidates[0].served_by, "l", "o", "r", None)
        return demo.DemoResult(str(out), demo.verify(bundle, ["fake"]), written, bench)

    monkeypatch.setattr("medsam_edge.benchmarks.console.named", lambda _: [])
    monkeypatch.setattr("medsam_edge.runtime.doctor.find_spec", lambda _: True)
    monkeypatch.setattr(demo, "run_demo", run_demo)
    for flags in ((), ("--json",)):
        done = cli("demo", "--out", tmp_path, *flags)
        assert (done.returncode, done.stderr) == (ExitCode.OK if passed else ExitCode.PARITY, "· working\n")
    assert json.loads(done.stdout)["schema"] == "medsam-edge/demo/2"


def test_export_prints_the_checks_that_let_the_bundle_through(
    cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = pytest.importorskip("medsam_edge.export.pipeline", exc_type=ImportError)
    check = pipeline.Check("tensor", True, "lowest cosine 1.0")
    manifest = open_bundle(tiny_bundle).manifest
    results = [pipeline.ExportResult(tiny_bundle, manifest, {"openvino": (check,)}, 83.26, 812.3)]
    asked: list[object] = []

    def export_bundle(checkpoint: Path, out: Path, cases: object, profile: str | None, *_: object) -> object:
        asked.extend((checkpoint, out, profile))
        return results[-1]

    monkeypatch.setattr("medsam_edge.benchmarks.console.named", lambda _: [])
    monkeypatch.setattr("medsam_edge.benchmarks.cases.golden_cases", lambda **_: ())
    monkeypatch.setattr(pipeline, "export_bundle", export_bundle)
    done = cli("export", "w.pth", "--out", "b", "--profile", "medsam")
    assert done.returncode == 0
    assert "lowest cosine 1.0" in done.stdout
    assert done.stdout.splitlines()[-1] == "Took 83.3 s, peak memory 812 MiB."
    assert asked == [Path("w.pth"), Path("b"), "medsam"]
    document = json.loads(cli("export", "w.pth", "--out", "b", "--json").stdout)
    assert document["schema"] == "medsam-edge/export/1"
    assert document["parity"]["openvino"][0]["name"] == "tensor"
    assert (document["seconds"], document["peak_mib"]) == (83.26, 812.3)
    results.append(replace(results[0], peak_mib=None))
    assert cli("export", "w.pth", "--out", "b").stdout.splitlines()[-1] == "Took 83.3 s."


@pytest.mark.parametrize("kind", descendants(MedSAMEdgeError), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_is_one_line_and_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: type[MedSAMEdgeError]
) -> None:
    raising(monkeypatch, kind("a", "b", "c"))
    done = cli("doctor")
    assert (done.returncode, done.stdout) == (kind.exit_code, "")
    assert done.stderr == "medsam-edge: expected a; found b. To mend it: c.\n"
    document = json.loads(cli("doctor", "--json").stdout)
    assert (document["error"], document["exit_code"]) == (kind.__name__, kind.exit_code)


def test_the_exit_codes_are_the_contract() -> None:
    names = {code.name: int(code) for code in ExitCode}
    assert names == {
        "OK": 0,
        "USAGE": 2,
        "ENVIRONMENT": 3,
        "PARITY": 4,
        "SPEED": 5,
        "ARTEFACT": 6,
        "OUT_OF_MEMORY": 7,
        "MEASUREMENT": 8,
    }
    assert {int(kind.exit_code) for kind in descendants(MedSAMEdgeError)} == set(names.values()) - {0}
    assert set(descendants(MedSAMEdgeError)) == {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MedSAMEdgeError)
    }


def test_no_memory_is_an_exit_code_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, MemoryError())
    done = cli("doctor")
    assert done.returncode == ExitCode.OUT_OF_MEMORY
    assert done.stderr.count("\n") == 1


def test_an_interrupt_is_no_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    done = cli("doctor")
    assert done.returncode not in (0, *map(int, ExitCode))
    assert "Traceback" not in done.stderr


def test_the_command_line_runs_as_a_process_of_its_own(tiny_bundle: Path, tmp_path: Path) -> None:
    def run(*words: object) -> CompletedProcess[str]:
        line = [sys.executable, "-m", "medsam_edge.cli", *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)

    assert run("--version").stdout == f"medsam-edge {__version__}\n"
    done = run("inspect", tmp_path / "none.bundle", "--json")
    assert done.returncode == ExitCode.ARTEFACT
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["schema"] == "medsam-edge/error/1"
    assert json.loads(run("inspect", tiny_bundle, "--json").stdout)["schema"] == "medsam-edge/inspect/1"
