"""The command as a whole on a small ViT: what its figures say, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from medsam_edge.benchmarks import planted as command
from medsam_edge.benchmarks.planted import EMBEDDING, cosine, planted_agreement
from medsam_edge.benchmarks.planted_report import PlantedReport
from medsam_edge.calibration.planted import Outliers
from medsam_edge.calibration.work import Journal
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode, MeasurementError, UsageError
from typer.testing import CliRunner

pytest.importorskip("onnxruntime")
BACKEND = "onnxruntime"


def quiet(_what: str, _done: int, _all: int) -> None:
    """Say nothing."""


def measured(bundle: Path, outliers: Outliers, images: int = 2, keep_float: int = 1) -> PlantedReport:
    return planted_agreement(open_bundle(bundle), outliers, images, keep_float, BACKEND, quiet)


def test_int8_loses_by_outliers_and_balancing_and_float_blocks_win_back(vit_bundle: Path) -> None:
    found = measured(vit_bundle, Outliers(factor=60, channels=2, blocks=(1,)))
    assert found.unchanged > 0.99999
    columns = {column.head: column for column in found.columns}
    assert list(columns) == ["no outliers", "min-max", "99.99 %", "balanced", "both", "1 float"]
    assert [column.planted for column in found.columns] == [False, *[True] * 5]
    for column in found.columns:
        assert [place.name for place in column.places] == ["blocks.0", "blocks.1", EMBEDDING]
        assert all(place.lowest <= place.mean <= 1 for place in column.places)
    lost = {head: 1 - column.embedding.mean for head, column in columns.items()}
    assert lost["min-max"] > 3 * lost["no outliers"]
    assert lost["balanced"] < lost["min-max"]
    assert lost["1 float"] < min(lost["balanced"], lost["min-max"]) / 2
    assert columns["1 float"].kept_float == (found.alone[0].block,) == ("blocks.1",)
    assert columns["1 float"].bytes > columns["balanced"].bytes
    first = columns["min-max"].places[0]
    assert first.mean == pytest.approx(columns["no outliers"].places[0].mean, abs=1e-3)  # block 0 has no outliers
    assert [one.cosine for one in found.alone] == sorted(one.cosine for one in found.alone)
    assert {one.block for one in found.alone} == {"patch_embed", "blocks.0", "blocks.1", "neck"}
    assert found.peak_mib > 0


def test_no_block_in_float_makes_no_column(vit_bundle: Path) -> None:
    found = measured(vit_bundle, Outliers(), images=1, keep_float=0)
    assert [column.head for column in found.columns][-1] == "both"
    assert not any(column.kept_float for column in found.columns)


def test_ranges_of_the_planted_encoder_are_its_own(vit_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[object] = []

    def recorded(path: Path, key: dict[str, object]) -> Journal:
        keys.append(key)
        return Journal(path, key)

    monkeypatch.setattr(command, "Journal", recorded)
    measured(vit_bundle, Outliers(), images=1, keep_float=0)
    assert len(keys) == 2
    assert keys[0] != keys[1]


def test_more_blocks_in_float_than_there_are_is_refused(vit_bundle: Path) -> None:
    with pytest.raises(UsageError, match="fewer blocks in float than the 2"):
        measured(vit_bundle, Outliers(), keep_float=2)


def test_planting_that_changes_the_function_is_no_measurement(
    vit_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: onnx.ModelProto, _outliers: Outliers) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(model)
        for constant in made.graph.initializer:
            if constant.name.endswith("attn.proj.bias"):
                values = np.frombuffer(constant.raw_data, np.float32) * 2
                constant.raw_data = values.tobytes()
        return made

    monkeypatch.setattr(command, "planted", broken)
    with pytest.raises(MeasurementError, match="planting leaves as it was"):
        measured(vit_bundle, Outliers(), images=1)


def test_cosines_are_those_of_a_hand() -> None:
    one, other = np.array([[3.0, 4.0]], np.float32), np.array([[4.0, 3.0]], np.float32)
    assert cosine(one, other) == pytest.approx(24 / 25)
    assert cosine(one, -one) == pytest.approx(-1)
    for bad in (np.zeros((1, 2), np.float32), np.array([[np.nan, 1]], np.float32)):
        with pytest.raises(MeasurementError, match="a cosine"):
            cosine(one, bad)


@pytest.fixture
def invoke() -> Callable[..., object]:
    app = typer.Typer()
    app.command()(command.main)
    return lambda *words: CliRunner().invoke(app, [*map(str, words), "--backend", BACKEND], env={"COLUMNS": "80"})


def test_the_command_prints_tables_of_80_columns_json_and_errors(
    vit_bundle: Path,
    tmp_path: Path,
    invoke: Callable[..., typer.testing.Result],  # type: ignore[name-defined]
) -> None:
    done = invoke(vit_bundle, "--images", 1, "--keep-float", 1)
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "blocks.1" in done.stdout
    assert "…" not in done.stdout
    told = json.loads(invoke(vit_bundle, "--images", 1, "--keep-float", 0, "--json").stdout)
    assert told["schema"] == "medsam-edge/planted/1"
    assert told["outliers"]["factor"] == 40
    assert len(told["columns"]) == 5
    assert invoke(vit_bundle, "--factor", 0).exit_code == ExitCode.USAGE
    assert invoke(vit_bundle, "--block", 9).exit_code == ExitCode.USAGE
    assert invoke(tmp_path / "none.bundle").exit_code in (ExitCode.ARTEFACT, ExitCode.ENVIRONMENT)
