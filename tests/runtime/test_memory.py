from pathlib import Path

import pytest
from medsam_edge.runtime import memory


def test_this_process_has_taken_some() -> None:
    assert memory.peak_mib() > 5


def test_it_is_the_kernels_own_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n")
    monkeypatch.setattr(memory, "STATUS", status)
    assert memory.peak_mib() == memory.kernel_peak_mib() == 2.0


@pytest.mark.parametrize("text", [None, "Name:\tx\n"])
def test_without_it_the_resource_usage_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "status").write_text(text)
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert memory.kernel_peak_mib() is None
    assert memory.peak_mib() > 5
