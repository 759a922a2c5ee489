import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.benchmarks import profiles, source_steps
from medsam_edge.benchmarks.profiles import ProfileRow, compare, profile_parity
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode, MissingExtraError
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.profile import VOCABULARY
from medsam_edge.runtime.types import AnyArray, Case
from typer.testing import CliRunner

APPROXIMATE = {"litemedsam-slicer"}  # its source has floats where ours has uint8


def oracles() -> None:
    for module in ("skimage", "cv2", "torch", "transformers"):
        pytest.importorskip(module)


@pytest.fixture(params=VOCABULARY["name"])
def predictor(request: pytest.FixtureRequest, fake_predictor: Callable[..., Predictor]) -> Predictor:
    return fake_predictor(profile=str(request.param))


def rows_of(predictor: Predictor, cases: tuple[Case, ...]) -> list[ProfileRow]:
    oracles()
    return list(compare(predictor, source_steps.source_steps(predictor.profile.name), cases))


def test_our_steps_agree_with_the_sources(predictor: Predictor, tiny_cases: tuple[Case, ...]) -> None:
    rows = rows_of(predictor, tiny_cases)
    assert [len(row.dice) for row in rows] == [len(case.boxes) for case in tiny_cases]
    assert min(score for row in rows for score in row.dice) > 0.99
    if predictor.profile.name not in APPROXIMATE:
        assert max(row.largest_difference for row in rows) <= 1
        assert min(row.equal / row.values for row in rows) > 0.99


def test_a_wrong_step_is_seen(
    fake_predictor: Callable[..., Predictor], tiny_cases: tuple[Case, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def inverted(*given: object) -> AnyArray:
        return np.full((1, 3, 64, 64), 7, np.uint8)

    monkeypatch.setattr(profiles, "preprocess", inverted)
    (row, *_) = rows_of(fake_predictor(), tiny_cases)
    assert row.equal < 0.1 * row.values
    assert row.largest_difference > 100


def test_boxes_that_the_source_puts_elsewhere_show_in_the_masks(
    fake_predictor: Callable[..., Predictor], tiny_cases: tuple[Case, ...]
) -> None:
    oracles()
    other = source_steps.source_steps("litemedsam")
    (_, row) = compare(fake_predictor(), other, tiny_cases)  # the second case is not square
    assert min(row.dice) < 0.99


def test_a_bundles_golden_cases_and_phantoms_are_put_together(tiny_bundle: Path) -> None:
    oracles()
    found = profile_parity(open_bundle(tiny_bundle), 2, "fake")
    assert (found.profile, found.cases) == ("medsam", 4)
    assert found.masks > 5
    assert found.dice_worst <= found.dice_mean <= 1
    assert 0.99 < found.equal_share <= 1


@pytest.mark.parametrize(
    ("profile", "module", "package"),
    [
        ("medsam", "skimage.transform", "scikit-image"),
        ("litemedsam", "cv2", "opencv-python-headless"),
        ("medsam-hf-wanglab", "transformers", "transformers"),
        ("litemedsam-slicer", "torch", "torch"),
    ],
)
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, profile: str, module: str, package: str) -> None:
    oracles()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{package} not installed.*medsam-edge\[dev\]"):
        source_steps.source_steps(profile)


def test_the_command_prints_one_line_and_explains_what_it_cannot_do(tiny_bundle: Path, tmp_path: Path) -> None:
    oracles()
    import typer

    app = typer.Typer()
    app.command()(profiles.main)
    done = CliRunner().invoke(app, [str(tiny_bundle), "--backend", "fake"])
    assert done.exit_code == 0
    assert done.stdout.startswith("medsam: 2 cases; encoder input ")
    assert "5 masks, DSC mean" in done.stdout
    missing = CliRunner().invoke(app, [str(tmp_path / "none.bundle")])
    assert missing.exit_code in (ExitCode.ARTEFACT, ExitCode.ENVIRONMENT)
    assert "To mend it" in missing.output
