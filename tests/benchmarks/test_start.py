from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.benchmarks.start import Start, StartReport, StartRow, measure, start_table
from medsam_edge.runtime.errors import MeasurementError
from rich.console import Console

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


def test_rows_hold_medians_and_the_table_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    fast = [replace(START, ready_s=seconds, first_mask_s=seconds + 5) for seconds in (9.0, 1.0, 1.2)]
    reused = StartRow("state", tuple(fast))
    assert (reused.ready_s, reused.first_mask_s, reused.ready_mib, reused.peak_mib) == (1.2, 6.2, 300.0, 900.0)
    without = StartRow("no state", (START,))
    Console(width=80).print(start_table(StartReport(StartRow("state, first", (START,)), without, reused)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["state", "1.20", "0.60", "6.20", "0.78", "300", "900"] in lines
