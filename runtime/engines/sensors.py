"""Clocks, temperatures and power of a Jetson, read without root and in far finer steps than tegrastats takes.

Names of files and rails are those that boards were seen to have (docs/jetson.md names the sources). A sensor that does
not answer is left out: no figure is better than 0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .system_files import SystemFiles

# A rail that carries everything, the likeliest first: Thor's carrier, the first Nano's, Orin Nano's and NX's modules.
_TOTALS = ("VIN", "POM_5V_IN", "VDD_IN")
_GPU = re.compile(r"(\.|^)(gpu|ga10b|gv11b|gp10b)$|^gpu-(gpc|nvd)-\d+$")
_SUM_OF_SHUNTS = 7
_OFFLINE_BELOW_C = -100


@dataclass(frozen=True)
class Clock:
    """A clock in MHz; `locked` where it may not move, as `jetson_clocks` leaves it."""

    name: str
    mhz: float
    max_mhz: float
    governor: str
    locked: bool


@dataclass(frozen=True)
class Rail:
    """A supply rail and what flows through it; a sensor's offset may make that a little negative."""

    name: str
    milliwatts: float


@dataclass(frozen=True)
class Sensors:
    """What the board's sensors say now.

    Attributes:
        clocks: CPU clusters, the GPU and, where the system shows it, memory.
        temperatures: Thermal zone to degrees Celsius.
        rails: In the order of the sensors.
        total: The whole board's or module's, and by which rail; None where there is no sensor.
    """

    clocks: tuple[Clock, ...]
    temperatures: dict[str, float]
    rails: tuple[Rail, ...]
    total: Rail | None

    @property
    def hottest(self) -> float | None:
        """The highest temperature."""
        return max(self.temperatures.values(), default=None)


def sensors(files: SystemFiles) -> Sensors:
    """Read every sensor once."""
    rails = tuple(_rails(files))
    return Sensors(tuple(_clocks(files)), dict(_temperatures(files)), rails, _total(rails))


def _clocks(files: SystemFiles) -> Iterator[Clock]:
    for folder in files.names("sys/devices/system/cpu/cpufreq/policy*"):
        names = [f"{folder}/scaling_{word}_freq" for word in ("cur", "max", "min")]
        yield from _clock(files, f"CPU {folder.rpartition('policy')[2]}", names, f"{folder}/scaling_governor", 1e3)
    for folder in files.names("sys/class/devfreq/*"):
        name = folder.rpartition("/")[2]
        if _GPU.search(name) or name == "bwmgr":
            names = [f"{folder}/{word}_freq" for word in ("cur", "max", "min")]
            called = "memory" if name == "bwmgr" else f"GPU {name}"
            yield from _clock(files, called, names, f"{folder}/governor", 1e6)


def _clock(files: SystemFiles, name: str, paths: list[str], governor: str, unit: float) -> Iterator[Clock]:
    now, most, least = map(files.number, paths)
    if now is not None and most is not None:
        yield Clock(name, now / unit, most / unit, files.text(governor), least == most)


def _temperatures(files: SystemFiles) -> Iterator[tuple[str, float]]:
    for folder in files.names("sys/class/thermal/thermal_zone*"):
        name, value = files.text(f"{folder}/type"), files.number(f"{folder}/temp")
        if name and value is not None and value / 1000 > _OFFLINE_BELOW_C:
            yield name, value / 1000


def _rails(files: SystemFiles) -> Iterator[Rail]:
    for path in files.names("sys/bus/i2c/devices/*/name"):
        kind = files.text(path)
        for folder in files.names(f"{path.removesuffix('/name')}/hwmon/hwmon*"):
            if kind == "ina3221":
                yield from _channels(files, folder)
            elif kind == "ina238" and (microwatts := files.number(f"{folder}/power1_input")) is not None:
                yield Rail(files.text(f"{folder}/in1_label") or "VIN", microwatts / 1000)


def _channels(files: SystemFiles, folder: str) -> Iterator[Rail]:
    for path in files.names(f"{folder}/in*_label"):
        index = int(re.sub(r"\D", "", path.rpartition("/")[2]) or 0)
        name = files.text(path)
        if index == _SUM_OF_SHUNTS or not name or name == "NC":
            continue
        volts, amperes = files.number(f"{folder}/in{index}_input"), files.number(f"{folder}/curr{index}_input")
        if volts is not None and amperes is not None:  # both in thousandths
            yield Rail(name, volts * amperes / 1000)


def _total(rails: tuple[Rail, ...]) -> Rail | None:
    for name in _TOTALS:
        for rail in rails:
            if rail.name == name:
                return rail
    if not rails:
        return None
    return Rail(f"sum of {', '.join(rail.name for rail in rails)}", sum(rail.milliwatts for rail in rails))
