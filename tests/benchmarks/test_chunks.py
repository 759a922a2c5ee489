from pathlib import Path

import numpy as np
from medsam_edge.benchmarks.chunks import measure
from medsam_edge.runtime.types import Case


def test_every_chunk_size_is_timed_in_every_round(tiny_bundle: Path, tiny_cases: tuple[Case, ...]) -> None:
    rows = measure(tiny_bundle, "fake", tiny_cases[0], (1, 2, 3), rounds=4)
    assert [row.max_boxes for row in rows] == [1, 2, 3]
    assert all(len(row.seconds) == 4 and min(row.seconds) > 0 for row in rows)
    assert all(np.isfinite(row.growth_mib) and row.growth_mib >= 0 for row in rows)
