"""Four boards, read from synthetic files that say what they were derived from; and how a person's board is recorded.

A record that `doctor --record` made is a file of the same form, and may be put beside them.
"""

import json
from pathlib import Path

import pytest
from medsam_edge.runtime.engines.board import Board, SystemPython, board, read_board, system_pythons
from medsam_edge.runtime.engines.board_files import REMOVED, collect, unpack
from medsam_edge.runtime.engines.sensors import Clock, Rail, sensors
from medsam_edge.runtime.engines.system_files import SystemFiles
from medsam_edge.runtime.errors import ArtefactError

BOARDS = Path(__file__).with_name("boards")
NAMES = ("orin_nano", "orin_nx", "agx_orin", "thor")
KIB = 1024


def files(name: str, folder: Path) -> SystemFiles:
    unpack((BOARDS / f"{name}.json").read_bytes(), folder)
    return SystemFiles(folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_made_up_board_says_so_and_names_its_sources(name: str) -> None:
    document = json.loads((BOARDS / f"{name}.json").read_text())
    assert document["about"].startswith("SYNTHETIC")
    assert len(document["sources"]) >= 4


@pytest.mark.parametrize(
    ("name", "l4t", "jetpack", "mode", "desktop", "python"),
    [
        ("orin_nano", "36.4.3", "6.2", "25W", True, SystemPython("3.10", "10.3.0")),
        ("orin_nx", "36.4.7", "6.2.1", "MAXN", False, SystemPython("3.10", "10.3.0")),
        ("agx_orin", "39.2.0", "7.2", "MODE_30W (default)", False, SystemPython("3.12", "10.16.1.7")),
        ("thor", "38.2.0", "7.0", "120W", False, SystemPython("3.12", "10.13.3.9")),
    ],
)
def test_what_a_board_is(
    tmp_path: Path, name: str, l4t: str, jetpack: str, mode: str, desktop: bool, python: SystemPython
) -> None:
    found = board(files(name, tmp_path).root)
    assert (found.l4t, found.jetpack, found.power_mode, found.desktop) == (l4t, jetpack, mode, desktop)
    assert found.model
    assert found.model.startswith("NVIDIA Jetson")
    assert found.memory_bytes > found.free_bytes > 0
    assert system_pythons(SystemFiles(tmp_path)) == (python,)


def test_sizes_are_bytes(tmp_path: Path) -> None:
    found = read_board(files("orin_nano", tmp_path))
    assert (found.memory_bytes, found.free_bytes, found.swap_bytes) == (7802880 * KIB, 5242880 * KIB, 3901440 * KIB)


def test_a_mode_that_the_catalogue_does_not_name_is_its_number(tmp_path: Path) -> None:
    found = files("orin_nano", tmp_path)
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0007 fmode:fanNull")
    assert read_board(found).power_mode == "7"
    (tmp_path / "var/lib/nvpmodel/status").unlink()
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert read_board(found).power_mode is None


@pytest.mark.parametrize(
    ("name", "rails", "total"),
    [
        ("orin_nano", ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), Rail("VDD_IN", 5016 * 1012 / 1000)),
        ("orin_nx", ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), Rail("VDD_IN", 5064 * 1824 / 1000)),
        ("thor", ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"), Rail("VIN", 23400.0)),
    ],
)
def test_power_is_read_rail_by_rail(tmp_path: Path, name: str, rails: tuple[str, ...], total: Rail) -> None:
    found = sensors(files(name, tmp_path))
    assert tuple(rail.name for rail in found.rails) == rails
    assert found.total == total


def test_the_sum_of_shunts_is_no_rail(tmp_path: Path) -> None:
    found = files("orin_nano", tmp_path)
    (tmp_path / "sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr7_input").write_text("1460")
    assert len(sensors(found).rails) == 3


def test_a_board_without_a_rail_for_everything_is_a_sum_that_says_so(tmp_path: Path) -> None:
    found = sensors(files("agx_orin", tmp_path))
    assert [rail.name for rail in found.rails] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
    assert found.total
    assert found.total.name == "sum of VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO"
    assert found.total.milliwatts == pytest.approx(4788.48 + 1596.16 + 4032 + 604.8)


def test_clocks_say_whether_they_are_locked(tmp_path: Path) -> None:
    assert sensors(files("thor", tmp_path)).clocks == (
        Clock("CPU 0", 972.0, 2601.0, "schedutil", False),
        Clock("memory", 4266.0, 4266.0, "performance", False),
        Clock("GPU gpu-gpc-0", 1575.0, 1575.0, "performance", True),
        Clock("GPU gpu-nvd-0", 1692.0, 1692.0, "nvhost_podgov", False),
    )


def test_only_the_gpu_and_memory_are_taken_of_the_devices_with_clocks(tmp_path: Path) -> None:
    found = files("orin_nano", tmp_path)
    for name in ("15340000.vic", "gpu-tray", "17000000.gpu.bak"):
        folder = tmp_path / "sys/class/devfreq" / name
        folder.mkdir()
        for word in ("cur", "max", "min"):
            (folder / f"{word}_freq").write_text("1")
    assert [clock.name for clock in sensors(found).clocks] == ["CPU 0", "CPU 4", "GPU 17000000.gpu"]


@pytest.mark.parametrize(
    ("name", "zones", "hottest"), [("orin_nano", 4, 48.531), ("agx_orin", 3, 44.0), ("thor", 4, 55.1)]
)
def test_a_sensor_that_is_off_is_left_out(tmp_path: Path, name: str, zones: int, hottest: float) -> None:
    found = sensors(files(name, tmp_path))
    assert (len(found.temperatures), found.hottest) == (zones, hottest)


def test_a_machine_without_sensors_has_no_figures_and_no_zeros(tmp_path: Path) -> None:
    found = sensors(SystemFiles(tmp_path))
    assert (found.clocks, found.temperatures, found.rails, found.total, found.hottest) == ((), {}, (), None, None)
    assert read_board(SystemFiles(tmp_path)) == Board(None, None, None, 0, 0, False)
    assert system_pythons(SystemFiles(tmp_path)) == ()


SECRETS = {
    "proc/device-tree/serial-number": "1421222012345",
    "etc/hostname": "radiology-7",
    "etc/machine-id": "0123456789abcdef0123456789abcdef",
    "sys/class/net/eth0/address": "48:b0:2d:aa:bb:cc",
    "proc/11/comm": "patient-viewer",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_board_is_the_board_again(tmp_path: Path, name: str) -> None:
    here = files(name, tmp_path / "here")
    recorded = collect(here.root)
    unpack(recorded, tmp_path / "there")
    there = SystemFiles(tmp_path / "there")
    assert read_board(there) == read_board(here)
    assert sensors(there) == sensors(here)
    assert [one.version for one in system_pythons(there)] == [one.version for one in system_pythons(here)]


def test_a_record_has_no_identifiers(tmp_path: Path) -> None:
    found = files("orin_nano", tmp_path)
    for name, text in SECRETS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    conf = tmp_path / "etc/nvpmodel.conf"
    conf.write_text(f"{conf.read_text()}\n# 48:b0:2d:aa:bb:cc 1421222012345 123e4567-e89b-12d3-a456-426614174000\n")
    recorded = collect(found.root).decode()
    for text in SECRETS.values():
        assert text not in recorded
    assert "426614174000" not in recorded
    assert recorded.count(REMOVED) == 3
    assert "gnome-shell" in recorded


@pytest.mark.parametrize(
    "document",
    [
        b"no JSON",
        b'{"schema": "medsam-edge/state/1", "files": {}}',
        b'{"schema": "medsam-edge/board-files/1"}',
        b'{"schema": "medsam-edge/board-files/1", "files": {"../x": ""}}',
        b'{"schema": "medsam-edge/board-files/1", "files": {"/x": ""}}',
    ],
)
def test_a_record_that_is_none_writes_nothing(tmp_path: Path, document: bytes) -> None:
    with pytest.raises(ArtefactError):
        unpack(document, tmp_path / "board")
    assert not list(tmp_path.iterdir())
