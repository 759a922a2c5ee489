"""The process whose memory is a candidate's: opens its encoder and decoder, answers one image, and tells the peak.

    python -m medsam_edge.calibration.memory_child BUNDLE BACKEND ENCODER.onnx SHA256 CASE.npz

Prints one JSON object. It imports what a device imports, for what it loads counts.
"""

import json
import sys
from pathlib import Path


def main(root: str, backend: str, encoder: str, digest: str, case: str) -> None:
    """Print what `memory.Peak` holds."""
    import numpy as np

    from ..runtime.backends.choose import resolve
    from ..runtime.bundle import open_unhashed
    from ..runtime.memory import kernel_peak_mib
    from .opened import beside

    with np.load(case, allow_pickle=False) as arrays:
        image, boxes = arrays["image"], arrays["boxes"]
    with beside(open_unhashed(root), resolve(backend), Path(encoder), digest) as predictor:
        predictor.segment(image, boxes)
        peak = kernel_peak_mib()
    print(json.dumps({"bytes": None if peak is None else round(peak * 2**20)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
