"""The process that `start` times: opens a bundle, draws one mask, prints one JSON object. Imports little on purpose.

    python -m medsam_edge.benchmarks.start_child STARTED BUNDLE BACKEND CASE.npz [STATE]

STARTED is the system's monotonic clock, which all processes share, when the parent made this one.
"""

import json
import sys
import time
from hashlib import sha256


def main(started: float, bundle: str, backend: str, case: str, state: str | None = None) -> None:
    """Print what `start.Start` holds."""
    from medsam_edge.runtime import load
    from medsam_edge.runtime.memory import peak_mib

    with load(bundle, backend, state=state) as predictor:
        ready, ready_mib = time.monotonic() - started, peak_mib()
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
            "peak_mib": peak_mib(),
            "cache": {part: str(status) for part, status in predictor.cache.items()},
            "masks": sha256(masks.tobytes()).hexdigest(),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
