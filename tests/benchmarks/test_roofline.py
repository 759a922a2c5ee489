"""Limits are worked out as a hand does it, and the command runs on a bundle that `quantize` could have written."""

import json
from pathlib import Path

import onnx
import pytest
import typer
from medsam_edge.benchmarks import roofline as command
from medsam_edge.benchmarks.roofline import roofline
from medsam_edge.benchmarks.roofline_report import Rate, reached, summed
from medsam_edge.calibration.commit import committed
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.qdq import quantised
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode
from medsam_edge.runtime.files import read_bytes
from medsam_edge.runtime.machine import processor_features
from typer.testing import CliRunner

FLOAT = "neck.2"  # one layer that the int8 graph keeps in float


def rate(attention: bool, count: int, **milliseconds: tuple[float, ...]) -> Rate:
    return Rate("one", attention, count, 5_000_000, milliseconds)


def test_the_limit_is_the_sum_of_the_products_as_often_as_they_are_done() -> None:
    rates = [
        rate(False, 3, int8=(1.0, 2.0, 1.0), f32=(4.0, 4.0, 4.0)),
        rate(False, 2, int8=(0.5, 0.5, 0.5), f32=(2.0, 2.0, 2.0)),
        rate(True, 4, bf16=(1.0, 1.0, 1.0), f32=(2.0, 2.0, 2.0)),
    ]
    assert summed(rates[:2], "int8", 3) == [4.0, 7.0, 4.0]
    found = reached("int8", (24.0, 30.0, 24.0), (48.0, 48.0, 48.0), rates)
    assert (found.linear_ms, found.attention_ms, found.limit_ms, found.median_ms) == (4.0, 8.0, 12.0, 24.0)
    assert (found.fraction, found.low, found.times) == (0.5, None, 2.0)  # no interval of three rounds
    half = reached("int8+bf16", (16.0, 16.0, 16.0), (48.0, 48.0, 48.0), rates)
    assert (half.attention_ms, half.limit_ms, half.fraction, half.times) == (4.0, 8.0, 0.5, 3.0)
    whole = reached("f32", (48.0, 48.0, 48.0), (48.0, 48.0, 48.0), rates)
    assert (whole.limit_ms, whole.times) == (24.0, 1.0)


def test_five_rounds_have_an_interval() -> None:
    rates = [rate(False, 1, int8=(2.0,) * 5), rate(True, 1, f32=(1.0,) * 5)]
    found = reached("int8", (6.0, 6.0, 5.0, 6.0, 6.0), (9.0,) * 5, rates)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.fraction == 0.5 <= found.high


def test_a_multiplication_counts_as_two_operations() -> None:
    assert rate(False, 7, f32=(2.0, 1.0, 9.0)).gops("f32") == pytest.approx(5.0)  # 10^7 in 2 ms


@pytest.fixture
def int8_bundle(vit_bundle: Path) -> Path:
    pytest.importorskip("openvino")
    bundle = open_bundle(vit_bundle)
    data = read_bytes(bundle.root / bundle.entry("encoder", "fp32").file, 1 << 30)
    model = onnx.load_from_string(data)
    scales = {layer.name: 0.05 for layer in quantisable(model) if layer.name != FLOAT}
    committed(bundle, "openvino", (quantised(model, scales).SerializeToString(), "tiled"), {"of": "a test"})
    return vit_bundle


def test_the_report_holds_every_product_and_encoder(int8_bundle: Path) -> None:
    found = roofline(open_bundle(int8_bundle), 2, lambda _what, _done, _all: None)
    bf16 = bool({"avx512_bf16", "amx_bf16"} & set(processor_features()))
    assert [one.precision for one in found.encoders] == ["f32", "int8", *(["int8+bf16"] if bf16 else [])]
    assert (found.layers, found.int8_layers) == (11, 10)
    assert sum(one.count for one in found.rates if not one.attention) == 11
    assert {one.name for one in found.rates if one.attention} == {
        "attention 9 x 2 x 9 x 16",
        "attention 1 x 2 x 64 x 16",
    }
    for one in found.rates:
        assert set(one.samples_ms) == {"f32", *(["bf16"] if bf16 else []), *([] if one.attention else ["int8"])}
        assert {len(samples) for samples in one.samples_ms.values()} == {2}
    assert found.attention_gmac == pytest.approx(2 * 2 * 16 * (9 * 9 * 9 + 64 * 64) / 1e9)
    assert found.encoders[0].times == 1


def test_a_processor_without_bf16_is_not_measured_in_it(int8_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "processor_features", lambda: ("avx2",))
    found = roofline(open_bundle(int8_bundle), 1, lambda _what, _done, _all: None)
    assert [one.precision for one in found.encoders] == ["f32", "int8"]
    assert not any("bf16" in one.samples_ms for one in found.rates)


def test_the_command_prints_tables_of_80_columns_json_and_errors(int8_bundle: Path, real_bundle: Path) -> None:
    app = typer.Typer()
    app.command()(command.main)

    def invoke(*words: object) -> object:
        return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "80"})

    done = invoke(int8_bundle, "--rounds", 1)
    assert done.exit_code == 0  # type: ignore[attr-defined]
    lines = done.stdout.splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert any("all linear layers" in line for line in lines)
    told = json.loads(invoke(int8_bundle, "--rounds", 1, "--json").stdout)  # type: ignore[attr-defined]
    assert told["schema"] == "medsam-edge/roofline/1"
    assert told["rounds"] == 1
    assert invoke(real_bundle).exit_code == ExitCode.ARTEFACT  # type: ignore[attr-defined]
