"""How much memory this process has taken at most."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_mib() -> float:
    """Return the largest resident size so far, in MiB.

    Linux's VmHWM belongs to this program alone; `getrusage`, which stands in elsewhere, may start from what the
    process was before it became this program.
    """
    try:
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return _usage_mib()


def _usage_mib() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
