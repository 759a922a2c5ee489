"""What a Jetson says about itself that decides a build: model, system, memory, swap, desktop, power mode.

All of it is read from the system's own files, as anybody may; nothing is changed. `sensors` reads what moves.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from .options import GIB, MIB
from .system_files import SystemFiles

# The first L4T release of each JetPack, newest first (docs/tensorrt.md).
_JETPACKS = (
    ((39, 2, 2), "7.2.2"), ((39, 2, 1), "7.2.1"), ((39, 2, 0), "7.2"), ((38, 4, 0), "7.1"), ((38, 2, 0), "7.0"),
    ((36, 5, 2), "6.2.3"), ((36, 5, 0), "6.2.2"), ((36, 4, 4), "6.2.1"), ((36, 4, 3), "6.2"), ((36, 4, 0), "6.1"),
    ((36, 2, 0), "6.0"),
)  # fmt: skip
_MODE = r"< *POWER_MODEL +ID=(\d+) +NAME=(\S+) *>"
DESKTOPS = {"Xorg", "gnome-shell", "Xwayland", "lightdm", "gdm3"}


@dataclass(frozen=True)
class Board:
    """A Jetson, as far as a build cares.

    Attributes:
        l4t: "36.4.3", or None where this is no Jetson.
        jetpack: "6.2", or None where the release is not known.
        power_mode: The mode's name or number, or None where the system does not tell. A board whose mode was never set
            is in its default one, and says so: "25W (default)".
        free_bytes: Memory that programs can still have.
        swap_bytes: Swap that is free.
        desktop: Whether a desktop session takes part of the memory.
        model: As the device tree names it, or None.
        memory_bytes: All memory; a Jetson's GPU shares it.
    """

    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    free_bytes: int
    swap_bytes: int
    desktop: bool
    model: str | None = None
    memory_bytes: int = 0


@dataclass(frozen=True)
class SystemPython:
    """A Python of the system's for which TensorRT is installed; `tensorrt` is its version, or "" if it does not say."""

    version: str
    tensorrt: str


def board(root: Path = Path("/")) -> Board:
    """Read the files below a root."""
    return read_board(SystemFiles(root))


def read_board(files: SystemFiles) -> Board:
    """Read what does not move while a program runs, and how much memory is free."""
    l4t = _l4t(files.text("etc/nv_tegra_release"))
    memory = _meminfo(files.text("proc/meminfo"))
    return Board(
        l4t=".".join(map(str, l4t)) if l4t else None,
        jetpack=next((name for first, name in _JETPACKS if l4t and l4t[0] == first[0] and l4t >= first), None),
        power_mode=_power_mode(files) if l4t else None,
        free_bytes=memory.get("MemAvailable", 0),
        swap_bytes=memory.get("SwapFree", 0),
        desktop=any(files.text(path) in DESKTOPS for path in files.names("proc/[0-9]*/comm")),
        model=files.text("proc/device-tree/model") or None,
        memory_bytes=memory.get("MemTotal", 0),
    )


def system_pythons(files: SystemFiles) -> tuple[SystemPython, ...]:
    """Return the system's Pythons that have TensorRT: an environment has to be made with one of them."""
    found = []
    for path in files.present("usr/lib/python3*/dist-packages/tensorrt/__init__.py"):
        folder = path.removesuffix("/tensorrt/__init__.py")
        named = [one.rpartition("/tensorrt-")[2] for one in files.names(f"{folder}/tensorrt-*.dist-info")]
        version = path.split("/")[2].removeprefix("python")
        found.append(SystemPython(version, named[0].removesuffix(".dist-info") if named else ""))
    return tuple(found)


def estimate(graph_bytes: int, workspace_bytes: int) -> int:
    """Guess what building takes at most: the graph read, held as weights and written out again, and the workspace."""
    return 3 * graph_bytes + workspace_bytes + GIB


def advice(found: Board, needed_bytes: int) -> list[str]:
    """Say what a person could do before a build on a Jetson; nothing is done for them.

    Args:
        found: The board.
        needed_bytes: As `estimate` guesses.
    """
    if found.l4t is None:
        return []
    lines = []
    if found.free_bytes < needed_bytes:
        lines.append(
            f"{found.free_bytes // MIB} MiB of memory are free and the build may need {needed_bytes // MIB} MiB: "
            "close programs, or name a smaller --workspace"
        )
        if found.swap_bytes < needed_bytes - found.free_bytes:
            lines.append(f"{found.swap_bytes // MIB} MiB of swap are free: a swap file keeps the build alive")
        if found.desktop:
            lines.append("a desktop session runs: `sudo systemctl isolate multi-user.target` frees about 0.5 GiB")
    mode = found.power_mode or "unknown"
    if "MAXN" not in mode.upper():
        lines.append(
            f"the power mode is {mode}: engines are timed for the mode that they are built in; `nvpmodel -q` shows it"
        )
    return lines


def _l4t(release: str) -> tuple[int, int, int] | None:
    found = re.match(r"# R(\d+) \(release\), REVISION: (\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _meminfo(text: str) -> dict[str, int]:
    return {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def _power_mode(files: SystemFiles) -> str | None:
    """What `nvpmodel -q` answers, from the two files that it reads and writes itself, which need no root."""
    catalogue = files.text("etc/nvpmodel.conf")
    known: dict[int, str] = {int(number): name for number, name in re.findall(_MODE, catalogue)}
    if set_to := re.search(r"pmode:\s*(\d+)", files.text("var/lib/nvpmodel/status")):
        return known.get(int(set_to[1]), str(int(set_to[1])))
    if default := re.search(r"< *PM_CONFIG +DEFAULT=(\d+) *>", catalogue):
        return f"{known.get(int(default[1]), default[1])} (default)"
    return None
