from pathlib import Path

import pytest
from medsam_edge.runtime import machine
from medsam_edge.runtime.machine import memory_gib, processor_features, processor_name

INTEL = "processor\t: 0\nmodel name\t: Some(R) CPU @ 2.0GHz: fast\nflags\t\t: fpu avx2 avx512f amx_int8 avx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp sve2\nCPU part\t: 0xd42\n"


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "Path", lambda _: cpuinfo)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    return cpuinfo


def test_a_processor_is_named_as_it_names_itself(pretend: Path) -> None:
    pretend.write_text(INTEL)
    assert processor_name() == "Some(R) CPU @ 2.0GHz: fast"
    assert processor_features() == ("avx2", "avx512f", "amx_int8")


def test_a_processor_without_a_name_is_named_by_its_architecture(pretend: Path) -> None:
    pretend.write_text(ARM)
    assert processor_name() == "aarch64"
    assert processor_features() == ("asimd", "asimddp")


def test_a_system_that_tells_nothing_is_no_error(pretend: Path) -> None:
    assert not pretend.exists()
    assert processor_name() == "aarch64"
    assert processor_features() == ()


def test_memory_is_counted_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}.__getitem__)
    assert memory_gib() == 4
