"""The picture of the front: the same bytes each time, nothing covered, and every candidate in it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from medsam_edge.benchmarks.front import Front, front
from medsam_edge.benchmarks.front_picture import drawn, write_picture
from medsam_edge.calibration.outcome import Candidate, Outcome
from medsam_edge.runtime.errors import StorageError, UsageError

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
from matplotlib.text import Annotation, Text

Make = Callable[..., Candidate]
Gather = Callable[..., Outcome]


def texts(shown: Front) -> Iterator[Text]:
    """Every text that is to be seen."""
    figure = drawn(shown, "a title")
    figure.canvas.draw()
    for one in figure.findobj(Text):
        if isinstance(one, Text) and one.get_visible() and one.get_text().strip():
            yield one


def crowded(candidate: Make, outcome: Gather) -> Front:
    names = ("bf16", "int8", "int8+bf16", "fp16")
    return front(outcome(*(candidate(name, 50 + place / 10) for place, name in enumerate(names))))


def test_the_same_front_gives_the_same_bytes(usual: Outcome, tmp_path: Path) -> None:
    first = write_picture(front(usual), "title", tmp_path / "a.svg").read_bytes()
    assert first == write_picture(front(usual), "title", tmp_path / "b.svg").read_bytes()
    assert first.startswith(b"<?xml")
    assert b"<dc:date>" not in first
    other = replace(usual, limits=replace(usual.limits, mean_drop=0.004))
    assert write_picture(front(other), "title", tmp_path / "c.svg").read_bytes() != first


def test_a_persons_own_settings_change_nothing(usual: Outcome, tmp_path: Path) -> None:
    import matplotlib as mpl

    expected = write_picture(front(usual), "title", tmp_path / "a.svg").read_bytes()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert write_picture(front(usual), "title", tmp_path / "b.svg").read_bytes() == expected
        assert mpl.rcParams["font.size"] == 30


def test_a_png_is_800_pixels_wide_and_shows_something(usual: Outcome, tmp_path: Path) -> None:
    with PIL.Image.open(write_picture(front(usual), "title", tmp_path / "a.PNG")) as image:
        assert image.width == 800
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()
    colours = {tuple(pixel) for pixel in pixels}
    assert {(0, 0, 0), (0, 114, 178), (213, 94, 0)} <= colours  # float32, kept, refused


def test_every_candidate_is_named_and_what_is_not_drawn_is_told(usual: Outcome) -> None:
    found = [one.get_text() for one in texts(front(usual))]
    assert "int8, 50 ms\n950 MB" in found
    assert "float32, 100 ms\n2210 MB" in found
    assert any("Not drawn: int8+bf16: it loses 0.44" in text for text in found)
    assert {"limit 0.005", "limit 0.02"} <= set(found)


def test_a_candidate_without_a_memory_figure_has_none_in_its_name(candidate: Make, outcome: Gather) -> None:
    found = [one.get_text() for one in texts(front(outcome(candidate("int8", 50, memory_bytes=None))))]
    assert "int8, 50 ms" in found


def test_no_text_covers_another_however_close_candidates_are(candidate: Make, outcome: Gather, usual: Outcome) -> None:
    far = outcome(candidate("bf16", 60, -0.0002, 0.0001), candidate("int8", 50, 0.21, 0.27, 0.44))
    for shown in (crowded(candidate, outcome), front(usual), front(far)):
        seen = [one for one in texts(shown) if isinstance(one, Annotation) or one.axes is None]
        # The box of an annotation with a line holds the line too.
        boxes = [Text.get_window_extent(one) for one in seen]
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_dollars_in_a_name_are_no_formula(candidate: Make, outcome: Gather) -> None:
    found = [one.get_text() for one in texts(front(outcome(candidate("$int8$", 50))))]
    assert any(text.startswith("$int8$") for text in found)


@pytest.mark.parametrize("name", ["front.pdf", "front", "front.svg.gz"])
def test_another_format_is_refused(usual: Outcome, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        write_picture(front(usual), "title", tmp_path / name)


def test_a_folder_that_is_not_there_is_an_error_of_ours(usual: Outcome, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_picture(front(usual), "title", tmp_path / "none" / "a.svg")


def test_matplotlib_loads_only_when_something_is_drawn() -> None:
    program = "import sys, medsam_edge.benchmarks.front_picture, medsam_edge.benchmarks.drawing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert "matplotlib" not in done.stdout.split()
