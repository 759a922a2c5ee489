import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.benchmarks.volume_speed import Run, measure, tubes
from medsam_edge.runtime.predictor import Predictor


def test_the_volume_has_one_tube_for_each_object_through_all_slices() -> None:
    volume, prompts = tubes(6, 10)
    assert volume.shape == (6, 256, 256)
    assert len({prompt.box for prompt in prompts}) == 10
    for prompt in prompts:
        x_min, y_min, x_max, y_max = prompt.box
        assert volume.voxels[:, int((y_min + y_max) / 2), int((x_min + x_max) / 2)].min() > 100
        assert (prompt.first, prompt.last) == (0, 5)
        assert 0 <= prompt.start < 6


def test_both_ways_draw_what_they_say(fake_predictor: Callable[..., Predictor]) -> None:
    run = measure(fake_predictor(), 8, 3, 2)
    assert (run.masks, run.other_masks, run.encoded) == (24, 6, 8)
    assert run.seconds > 0
    assert run.other_seconds > 0
    assert run.arrays_mib == pytest.approx(2 * 8 * 256 * 256 / 2**20)
    assert run.peak_mib > run.arrays_mib


def test_the_ratio_is_of_the_same_masks() -> None:
    run = Run(
        slices=100, seconds=10.0, encoded=100, masks=1000, other_seconds=6.0, other_masks=100, peak_mib=0, arrays_mib=0
    )
    assert run.ratio == pytest.approx(6.0)


def test_the_command_prints_a_line_for_each_depth_and_the_ratio(tiny_bundle: Path) -> None:
    words = ("--slices", "3,5", "--objects", "2", "--samples", "1", "--backend", "fake")
    command = [sys.executable, "-m", "medsam_edge.benchmarks.volume_speed", str(tiny_bundle), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    lines = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["3 slices", "5 slices", lines[2].split(",")[0]]
    assert "times as long, from 2 masks" in lines[2]
    assert np.isfinite(float(lines[2].split(": ")[1].split()[0]))
