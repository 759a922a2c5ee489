"""The packaged demo against PyTorch as the authors run it: real processes, nothing replaced."""

from pathlib import Path

import pytest
from medsam_edge.benchmarks.bench import bench
from medsam_edge.benchmarks.candidates import EAGER
from medsam_edge.benchmarks.rounds import Plan
from medsam_edge.runtime.backends.choose import available
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.types import Case

pytest.importorskip("torch")
pytest.importorskip("skimage")
pytest.importorskip("cv2")


@pytest.mark.slow
def test_the_bundle_and_the_authors_way_draw_the_same_masks(tmp_path: Path, tiny_cases: tuple[Case, ...]) -> None:
    from medsam_edge.export.demo_checkpoint import demo_checkpoint
    from medsam_edge.export.pipeline import export_bundle

    export_bundle(demo_checkpoint(), tmp_path / "demo.bundle", tiny_cases)
    bundle = open_bundle(tmp_path / "demo.bundle")
    report = bench(bundle, available()[:1], Plan(rounds=2, boxes=4), baseline=True)
    assert [one.role for one in report.candidates][:2] == ["own", "baseline"]
    assert EAGER in [one.name for one in report.candidates]
    assert min(one.parity.worst for one in report.candidates) > 0.999
    assert {one.reference for one in report.ratios} == {one.name for one in report.candidates[1:]}
    assert [share.candidate for share in report.memory] == [one.name for one in report.candidates]
    assert report.memory[1].one_box == report.memory[1].many_boxes == 1
    assert report.machine is not None
    assert report.machine.library == "torch"
    assert report.operations is not None
    assert all(one.encoder_share is not None for one in report.efficiency)
