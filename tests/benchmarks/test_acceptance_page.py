"""The page and the table of `accept`: everything a person signs is on it, and no name can break its layout."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from medsam_edge.benchmarks.acceptance import Acceptance
from medsam_edge.benchmarks.acceptance_page import page, verdict_line
from medsam_edge.benchmarks.accepting import Terms, accept
from medsam_edge.runtime.engines.sensors import Clock, Rail, Sensors
from medsam_edge.runtime.errors import ExitCode

Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture
def record(asked: object, tiny_bundle: Path, tmp_path: Path) -> Acceptance:
    terms = Terms(["fake"], rounds=2, signed_by="A. Person")
    return accept(tiny_bundle, tmp_path, terms, lambda *_: None, lambda _: None).record


def test_the_page_has_what_is_signed(record: Acceptance) -> None:
    text = page(record)
    for words in (
        record.digest, record.bundle.digest, record.bundle.weights_sha256, "2 golden cases with 5 masks", "| passed |",
        "end to end", "peak memory in MiB", "first mask", "A. Person, 20", "medsam", "| all | 5 | 1.00000 |",
        "phantoms' own",
    ):  # fmt: skip
        assert words in text, words
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_unsigned_there_is_a_line_to_sign_on(record: Acceptance) -> None:
    assert "Name, date: ____" in page(replace(record, signed_by=""))


def test_a_jetson_is_described_with_both_power_modes(record: Acceptance) -> None:
    board = replace(record.device.before, model="Orin", l4t="36.4.3", jetpack="6.2", power_mode="25W")
    rail = Rail("VDD_IN", 5100.0)
    cool = Sensors((Clock("GPU 17000000.gpu", 612.0, 612.0, "", True),), {"cpu": 45.0, "gpu": 44.0}, (rail,), rail)
    hot = replace(cool, temperatures={"cpu": 71.5}, total=None)
    device = replace(record.device, before=board, after=board, sensors_before=cool, sensors_after=hot)
    text = page(replace(record, device=device))
    for words in ("45.0 first, then 71.5", "VDD_IN 5100 first, then -", "GPU 17000000.gpu 612 locked"):
        assert words in text
    assert "Orin, L4T 36.4.3, JetPack 6.2" in text
    assert "25W first, 25W at last" in text
    assert "L4T" not in page(record)


def test_a_name_from_outside_stays_in_its_cell(record: Acceptance) -> None:
    model = "a|b\n# c <img src=x> [link](http://x) `d`"
    text = page(replace(record, bundle=replace(record.bundle, model=model)))
    assert "a\\|b # c \\<img src=x\\> \\[link\\](http://x) \\`d\\`" in text
    assert "\n# c" not in text


def test_a_void_measurement_is_in_the_first_sentence(record: Acceptance) -> None:
    assert record.measurement
    void = replace(record.measurement, invalid="the power mode changed", exit_code=8)
    changed = replace(record, measurement=void, passed=False, signed_off=())
    assert verdict_line(changed) == "FAILED. Signed off for nothing. fake: passed. Measurement: the power mode changed."
    assert "count for nothing" in page(changed)


def test_the_verb_prints_the_verdict_and_where_the_record_lies(
    cli: Cli, asked: object, tiny_bundle: Path, tmp_path: Path
) -> None:
    words = ("accept", tiny_bundle, "--backend", "fake", "--rounds", "1", "--out", tmp_path / "out")
    done = cli(*words)
    assert done.returncode == 0
    assert "PASSED. Signed off for fake." in done.stdout
    assert "acceptance.md" in done.stdout
    document = json.loads(cli(*words, "--json").stdout)
    assert document["schema"] == "medsam-edge/accept/1"
    assert document["record"] == json.loads((tmp_path / "out" / "acceptance.json").read_text())
    assert cli("accept", tiny_bundle, "--backend", "nothing").returncode == ExitCode.USAGE


def test_the_verb_ends_with_the_code_of_what_was_asked_for_and_did_not_run(
    cli: Cli, asked: object, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medsam_edge.benchmarks import accepting
    from medsam_edge.runtime.errors import DriverError

    def missing() -> None:
        raise DriverError("a GPU", "no driver", "install one")

    monkeypatch.setattr(accepting, "gpu", missing)
    done = cli("accept", tiny_bundle, "--backend", "tensorrt", "--backend", "fake", "--rounds", "1", "--out", tmp_path)
    assert done.returncode == ExitCode.ENVIRONMENT
    assert "tensorrt: not run" in done.stdout.replace("\n", " ")
