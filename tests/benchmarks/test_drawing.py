from collections.abc import Callable
from pathlib import Path

import pytest
from medsam_edge.benchmarks.drawing import NAME, check_plot, draw
from medsam_edge.calibration.outcome import Candidate, Outcome
from medsam_edge.runtime import doctor
from medsam_edge.runtime.errors import MissingExtraError, StorageError, UsageError


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)


def test_the_picture_lies_beside_the_journal(usual: Outcome, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = draw(usual, None, tmp_path / "b.bundle.work")
    assert picture.path == tmp_path / "b.bundle.work" / NAME
    assert b"<svg" in picture.path.read_bytes()
    assert picture.beside(usual)["plot"] == str(picture.path)
    assert picture.beside(usual)["chosen"] == usual.chosen


def test_or_where_it_was_asked_for(usual: Outcome, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert draw(usual, tmp_path / "a.png", tmp_path / "work").path == tmp_path / "a.png"
    assert not (tmp_path / "work").exists()


@pytest.mark.usefixtures("without_matplotlib")
def test_without_matplotlib_there_is_a_reason_and_no_picture(usual: Outcome, tmp_path: Path) -> None:
    picture = draw(usual, None, tmp_path / "work")
    assert picture.path is None
    assert isinstance(picture.error, MissingExtraError)
    assert picture.error.remedy == "pip install 'medsam-edge[plot]'"
    assert picture.beside(usual)["plot"] is None
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_matplotlib")
def test_a_picture_that_was_asked_for_is_refused_before_the_work(tmp_path: Path) -> None:
    check_plot(None)
    with pytest.raises(MissingExtraError):
        check_plot(tmp_path / "a.svg")
    with pytest.raises(UsageError):
        check_plot(tmp_path / "a.gif")


def test_a_picture_that_cannot_be_written_costs_no_result(usual: Outcome, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "work").write_text("a file")
    picture = draw(usual, None, tmp_path / "work")
    assert isinstance(picture.error, StorageError)


def test_nothing_timed_is_nothing_drawn_and_no_error(
    candidate: Callable[..., Candidate], outcome: Callable[..., Outcome], tmp_path: Path
) -> None:
    picture = draw(outcome(candidate("int8")), None, tmp_path / "work")
    assert (picture.path, picture.error) == (None, None)
    assert not list(tmp_path.iterdir())
