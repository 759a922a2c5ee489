"""`kill -9` while a volume is segmented: no result is there, and the next run goes on to the same one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.loading import load
from medsam_edge.runtime.volumes.files import Request, segment_volume_files

IMGS = np.random.default_rng(1).integers(0, 256, (20, 40, 50), np.uint8)
BOXES = np.array([[5, 6, 1, 30, 28, 14], [8, 8, 6, 40, 30, 19]])
PROGRAM = """
import sys, time
from pathlib import Path
from medsam_edge.runtime.loading import load
from medsam_edge.runtime.volumes.files import Request, segment_volume_files

def progress(name, done, count):
    print(done, flush=True)
    time.sleep(0.02)

with load(sys.argv[1], "fake") as predictor:
    list(segment_volume_files(predictor, [Path(sys.argv[2])], Request(Path(sys.argv[3])), progress))
"""


@pytest.mark.parametrize("visits", [1, 9, 20])
def test_a_process_that_was_killed_leaves_no_result_and_the_next_one_goes_on(
    tiny_bundle: Path, tmp_path: Path, visits: int
) -> None:
    path = tmp_path / "3DBox_CT_1.npz"
    np.savez(path, imgs=IMGS, boxes=BOXES)
    words = (tiny_bundle, path, tmp_path / "out")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        for line in child.stdout:
            if int(line) >= visits:
                child.kill()
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["3DBox_CT_1.journal"]
    with load(tiny_bundle, "fake") as predictor:
        (resumed,) = segment_volume_files(predictor, [path], Request(tmp_path / "out"))
        (whole,) = segment_volume_files(predictor, [path], Request(tmp_path / "whole", resume=False))
    assert resumed.visits_resumed >= visits
    assert Path(resumed.labels).read_bytes() == Path(whole.labels).read_bytes()
