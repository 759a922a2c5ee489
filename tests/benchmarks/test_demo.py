from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from medsam_edge.benchmarks.latency import STAGES
from medsam_edge.runtime.errors import StorageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.predictor import Predictor

demo = pytest.importorskip("medsam_edge.benchmarks.demo", reason="needs PyTorch", exc_type=ImportError)


@pytest.fixture
def steps(
    monkeypatch: pytest.MonkeyPatch,
    write_bundle: Callable[..., Path],
    tiny_golden: tuple[Golden, ...],
    fake_predictor: Callable[..., Predictor],
) -> list[str]:
    """What the demo said; the export is replaced by a tiny bundle, the backends by the fake one."""

    def exported(checkpoint: Path, folder: Path, cases: object, say: Callable[[str], None]) -> None:
        assert checkpoint.name == "medsam_demo.safetensors"
        say("exporting")
        write_bundle(folder, tiny_golden)

    monkeypatch.setattr(demo, "demo_checkpoint", lambda: Path("medsam_demo.safetensors"))
    monkeypatch.setattr(demo, "export_bundle", exported)
    monkeypatch.setattr(demo, "available", lambda: ("fake",))
    monkeypatch.setattr(demo, "load", lambda _: fake_predictor())
    monkeypatch.setattr(demo, "golden_cases", tuple)
    return []


def test_the_demo_walks_the_whole_path_and_says_where_it_is(tmp_path: Path, steps: list[str]) -> None:
    found = demo.run_demo(tmp_path / "out", steps.append)
    assert steps == ["exporting", "verifying the bundle", "segmenting a phantom", "measuring latency"]
    assert found.verification.passed
    assert [latency.stage for latency in found.benchmark.candidates[0].latencies] == list(STAGES)
    assert found.bundle == str(tmp_path / "out" / "demo.bundle")
    assert (tmp_path / "out" / "demo.bundle" / "manifest.json").is_file()


def test_the_demo_leaves_a_picture_with_its_overlay(tmp_path: Path, steps: list[str]) -> None:
    found = demo.run_demo(tmp_path / "out", steps.append).segmented
    with PIL.Image.open(tmp_path / "out" / "phantom.png") as image, PIL.Image.open(found.labels) as labels:
        assert image.size == labels.size
        assert found.objects > 1
        assert np.asarray(labels).max() == found.objects
    assert Path(found.overlay).is_file()


def test_a_file_where_the_demo_should_write_is_a_storage_error(tmp_path: Path, steps: list[str]) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError):
        demo.segment_phantom(tmp_path / "any.bundle", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
