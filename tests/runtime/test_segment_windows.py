"""`segment --window`: from raw grey levels to a report that says what became of them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.errors import ImageError, UsageError
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.segmentation import segment_files
from medsam_edge.runtime.windows import apply_window, parse_window

HU = np.random.default_rng(4).integers(-1000, 1500, (48, 80)).astype(np.int16)
BOX = (10.0, 8.0, 50.0, 40.0)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    np.save(tmp_path / "scan.npy", HU)
    return tmp_path / "scan.npy"


def report_of(path: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path(path).read_text())
    return report


def test_raw_grey_levels_are_segmented_and_the_report_says_how(
    fake_predictor: Callable[..., Predictor], scan: Path, tmp_path: Path
) -> None:
    window = parse_window("lung")
    (found,) = segment_files(fake_predictor(), [scan], tmp_path / "out", [BOX], window=window)
    image, applied = apply_window(window, HU)
    report = report_of(found.report)
    assert report["window"] == {
        "name": "lung",
        "low": -1350.0,
        "high": 150.0,
        "black": float(HU.min()),
        "white": 150.0,
        "dtype": "int16",
    }
    assert found.window == applied
    assert report["image"]["pixels_sha256"] == hashlib.sha256(image.tobytes()).hexdigest()


def test_an_8_bit_image_has_no_window_in_its_report(fake_predictor: Callable[..., Predictor], tmp_path: Path) -> None:
    PIL.Image.fromarray(HU.astype(np.uint8)).save(tmp_path / "a.png")
    (found,) = segment_files(fake_predictor(), [tmp_path / "a.png"], tmp_path / "out", [BOX])
    assert report_of(found.report)["window"] is None
    with pytest.raises(ImageError, match="leave out --window"):
        list(segment_files(fake_predictor(), [tmp_path / "a.png"], tmp_path, [BOX], window=parse_window("mr")))


def test_without_a_window_the_refusal_names_it(
    fake_predictor: Callable[..., Predictor], scan: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=r"found int16 .*--window abdomen, lung, brain, mediastinum, mr"):
        list(segment_files(fake_predictor(), [scan], tmp_path / "out", [BOX]))


def test_an_image_outside_its_window_is_named_and_leaves_nothing(
    fake_predictor: Callable[..., Predictor], scan: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=r"within the window; .*scan\.npy"):
        list(segment_files(fake_predictor(), [scan], tmp_path / "out", [BOX], window=parse_window("9000,10")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["lung", "-600,1500"])
def test_the_command_takes_a_name_or_numbers_that_begin_with_a_minus(
    cli: Callable[..., CompletedProcess[str]], tiny_bundle: Path, scan: Path, tmp_path: Path, text: str
) -> None:
    given = ("--box", "10,8,50,40", "--out", tmp_path / "out", "--backend", "fake", "--json")
    done = cli("segment", tiny_bundle, scan, "--window", text, *given)
    assert done.returncode == 0, done.stderr
    assert report_of(str(tmp_path / "out" / "scan_report.json"))["window"]["name"] == text
    assert json.loads(done.stdout)["results"][0]["window"]["low"] == -1350


def test_the_command_refuses_an_unknown_window(
    cli: Callable[..., CompletedProcess[str]], tiny_bundle: Path, scan: Path
) -> None:
    done = cli("segment", tiny_bundle, scan, "--window", "bone", "--box", "10,8,50,40")
    assert done.returncode == UsageError.exit_code
    assert "'bone'" in done.stderr
