"""How much memory this process has taken at most."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_mib() -> float:
    """Return the largest resident size so far, in MiB.

    Where the kernel does not tell, `getrusage` stands in; it may start from what the process was before it became this
    program.
    """
    found = kernel_peak_mib()
    return _usage_mib() if found is None else found


def kernel_peak_mib() -> float | None:
    """Return Linux's VmHWM in MiB, which belongs to this program alone; None where there is no such figure."""
    try:
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def _usage_mib() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
