import errno
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from medsam_edge.benchmarks import start as module
from medsam_edge.benchmarks.start import Start, StartReport, StartRow, measure, start_table
from medsam_edge.runtime.errors import ExitCode, MachineError, MeasurementError, StorageError
from rich.console import Console
from typer.testing import CliRunner

START = Start(2.0, 8.0, 300.0, 900.0, {"encoder": "off"}, "0" * 64)


def test_fresh_processes_are_started_in_turn_with_and_without_a_state_folder(real_bundle: Path) -> None:
    pytest.importorskip("openvino")
    told: list[str] = []
    report = measure(real_bundle, "openvino", 2, told.append)
    assert told[1:] == ["round 1 of 2", "round 2 of 2"]
    assert [len(row.starts) for row in (report.built, report.without, report.reused)] == [1, 2, 2]
    for row, status in ((report.built, "built"), (report.without, "off"), (report.reused, "reused")):
        for start in row.starts:
            assert start.cache == {"encoder": status, "decoder": status}
            assert 0 < start.ready_s < start.first_mask_s
            assert 0 < start.ready_mib <= start.peak_mib


def test_a_backend_that_keeps_nothing_cannot_be_measured(tiny_bundle: Path) -> None:
    with pytest.raises(MeasurementError, match="fake keeps no compiled models"):
        measure(tiny_bundle, "fake", 1)


def test_a_process_that_fails_is_no_measurement(tiny_bundle: Path) -> None:
    pytest.importorskip("openvino")  # which cannot read the tiny bundle's graphs
    with pytest.raises(MeasurementError, match="BundleError"):
        measure(tiny_bundle, "openvino", 1)


@pytest.mark.parametrize("program", ["print('{}')", "print('[0]')", "print('noise {')", "pass"])
def test_a_process_that_answers_nonsense_is_no_measurement(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", program))
    with pytest.raises(MeasurementError, match="one JSON object from a started process"):
        measure(tiny_bundle, "fake", 1)


def test_a_process_that_the_system_does_not_start(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", ("/nowhere/at/all",))
    with pytest.raises(MachineError, match="a process for a start; found No such file or directory"):
        measure(tiny_bundle, "fake", 1)


def test_a_full_disk_is_an_error_of_ours(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(StorageError, match="No space left"):
        measure(tiny_bundle, "fake", 1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
def test_what_lies_where_a_person_stands_is_not_loaded(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MeasurementError, match="fake keeps no compiled models"):
        measure(tiny_bundle.resolve(), "fake", 1)


def test_the_command_explains_itself_and_ends_with_the_errors_code(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    app.command()(module.main)
    monkeypatch.setattr(module, "COMMAND", ("/nowhere/at/all",))
    done = CliRunner().invoke(app, [str(tiny_bundle), "--backend", "fake"])
    assert done.exit_code == ExitCode.ENVIRONMENT
    assert done.stderr.splitlines()[-1].startswith("medsam-edge: expected a process for a start")
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", "print('noise')"))
    assert CliRunner().invoke(app, [str(tiny_bundle), "--backend", "fake"]).exit_code == ExitCode.MEASUREMENT


def test_rows_hold_medians_and_the_table_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    fast = [replace(START, ready_s=seconds, first_mask_s=seconds + 5) for seconds in (9.0, 1.0, 1.2)]
    reused = StartRow("state", tuple(fast))
    assert (reused.ready_s, reused.first_mask_s, reused.ready_mib, reused.peak_mib) == (1.2, 6.2, 300.0, 900.0)
    without = StartRow("no state", (START,))
    Console(width=80).print(start_table(StartReport(StartRow("state, first", (START,)), without, reused)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["state", "1.20", "0.60", "6.20", "0.78", "300", "900"] in lines
