"""`segment` on the command line, with volumes among its arguments."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from medsam_edge.benchmarks.segmenting import Wanted, ready
from medsam_edge.runtime.errors import BoxError, ExitCode, UsageError
from medsam_edge.runtime.outputs import write_png

Cli = Callable[..., CompletedProcess[str]]
IMGS = np.random.default_rng(1).integers(0, 256, (6, 40, 50), np.uint8)
BOXES = np.array([[5, 6, 1, 30, 28, 4], [8, 8, 2, 40, 30, 5]])


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    np.savez(tmp_path / "3DBox_CT_1.npz", imgs=IMGS, boxes=BOXES, spacing=[1.0, 1.0, 2.0])
    return tmp_path / "3DBox_CT_1.npz"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_png(tmp_path / "image.png", IMGS[0])
    return tmp_path / "image.png"


def test_a_volume_is_segmented_and_what_was_decided_is_told(
    cli: Cli, tiny_bundle: Path, volume: Path, tmp_path: Path
) -> None:
    done = cli("segment", tiny_bundle, volume, "--backend", "fake", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3DBox_CT_1.npz: 2 boxes" in done.stdout
    assert "acquisition slices, 5 encoded, boxes as litemedsam" in done.stdout
    assert (tmp_path / "out" / "3DBox_CT_1_seg.npz").is_file()


def test_images_and_volumes_may_stand_together_in_json(
    cli: Cli, tiny_bundle: Path, volume: Path, image: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    write_png(labels / "image.png", (IMGS[0] > 128).astype(np.uint8))
    np.savez(labels / "3DBox_CT_1.npz", gts=(IMGS > 250).astype(np.uint8))
    words = ("--boxes-from", labels, "--backend", "fake", "--out", tmp_path / "out", "--json")
    done = cli("segment", tiny_bundle, volume, image, *words)
    found = json.loads(done.stdout)["results"]
    assert [one.get("image") or one.get("volume") for one in found] == [str(image), str(volume)]
    assert found[1]["convention"] == "litemedsam"


def test_the_options_of_volumes_reach_them(cli: Cli, tiny_bundle: Path, volume: Path, tmp_path: Path) -> None:
    words = ("--convention", "medficientsam", "--after-empty", "first-box", "--no-resume", "--out", tmp_path / "out")
    done = cli("segment", tiny_bundle, volume, "--box", "5,6,1,30,28,4", "--backend", "fake", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "3DBox_CT_1_report.json").read_text())
    assert (report["convention"]["after_empty"], report["objects"][0]["last_slice"]) == ("first-box", 3)


@pytest.mark.parametrize(
    "words", [("--slices", "axial"), ("--convention", "x"), ("--after-empty", "x"), ("--levels", "x"), ("--box", "1,2")]
)
def test_what_cannot_be_meant_is_one_line_and_writes_nothing(
    cli: Cli, tiny_bundle: Path, volume: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    done = cli("segment", tiny_bundle, volume, "--backend", "fake", "--out", tmp_path / "out", *words)
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.USAGE, 1)
    assert not (tmp_path / "out").exists()


def test_boxes_are_parsed_as_each_kind_wants_them(volume: Path, image: Path, tmp_path: Path) -> None:
    ready(Wanted((volume,), tmp_path, ("1,2,3,4,5,6",)), tmp_path)
    ready(Wanted((image,), tmp_path, ("1,2,3,4",)), tmp_path)
    for paths, box in (((volume, image), "1,2,3,4"), ((volume,), "1,2,3,4"), ((image,), "1,2,3,4,5,6")):
        with pytest.raises(BoxError):
            ready(Wanted(paths, tmp_path, (box,)), tmp_path)
    with pytest.raises(UsageError):
        ready(Wanted((volume,), tmp_path, window="sideways"), tmp_path)
