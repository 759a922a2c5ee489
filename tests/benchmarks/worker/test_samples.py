from pathlib import Path

import numpy as np
import pytest
from medsam_edge.benchmarks.worker.samples import read_samples, write_samples
from medsam_edge.runtime.errors import StorageError
from medsam_edge.runtime.golden import Golden


def test_samples_come_back_in_their_order(tmp_path: Path, tiny_golden: tuple[Golden, ...]) -> None:
    found = read_samples(write_samples(tmp_path / "samples.npz", tiny_golden))
    assert len(found) == len(tiny_golden)
    for sample, case in zip(found, tiny_golden, strict=True):
        for name in ("image", "boxes", "masks"):
            one, other = getattr(sample, name), getattr(case, name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_a_folder_or_file_that_is_not_there(tmp_path: Path, tiny_golden: tuple[Golden, ...]) -> None:
    with pytest.raises(StorageError):
        write_samples(tmp_path / "none" / "samples.npz", tiny_golden)
    with pytest.raises(StorageError):
        read_samples(tmp_path / "samples.npz")
