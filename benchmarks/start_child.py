"""The process that `start` times: opens a bundle, draws one mask, prints one JSON object. Imports little on purpose.

    python -m medsam_edge.benchmarks.start_child STARTED BUNDLE BACKEND CASE.npz [STATE]

STARTED is the system's monotonic clock, which all processes share, when the parent made this one.
"""

import json
import sys
import time
from hashlib import sha256
from pathlib import Path


def main(started: float, bundle: str, backend: str, case: str, state: str | None = None) -> None:
    """Print what `start.Start` holds."""
    from medsam_edge.runtime import load

    with load(bundle, backend, state=state) as predictor:
        ready, ready_mib = time.monotonic() - started, _peak_mib()
        import numpy as np

        with np.load(case) as arrays:
            image, boxes = arrays["image"], arrays["boxes"]
        before = time.monotonic()
        masks = predictor.segment(image, boxes).masks
        first = ready + time.monotonic() - before
        found = {
            "ready_s": ready,
            "first_mask_s": first,
            "ready_mib": ready_mib,
            "peak_mib": _peak_mib(),
            "cache": {part: str(status) for part, status in predictor.cache.items()},
            "masks": sha256(masks.tobytes()).hexdigest(),
        }
    print(json.dumps(found))


def _peak_mib() -> float:
    # Not getrusage: its peak includes the parent's, from which this process was forked.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
