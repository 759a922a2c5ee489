"""Float16 graphs of an encoder: islands where calibration cases show large values, and where blocks are kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from medsam_edge.calibration.case_set import CaseSet
from medsam_edge.calibration.emulation import rounded
from medsam_edge.calibration.half import halved
from medsam_edge.calibration.half_graphs import HalfGraphs
from medsam_edge.calibration.int8_graphs import CHUNK, EncoderFeeds, Int8Graphs, Recipe
from medsam_edge.calibration.islands import float32_nodes
from medsam_edge.calibration.layers import quantisable
from medsam_edge.calibration.lint import lint
from medsam_edge.calibration.peaks import peaks
from medsam_edge.calibration.tensorrt_graphs import LEAST_SCALE, TensorRtGraphs
from medsam_edge.calibration.three_sets import Counts, Sources, three_sets
from medsam_edge.calibration.work import Journal
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import AnyArray
from onnx import TensorProto, numpy_helper

Encoder = Callable[..., onnx.ModelProto]
Answers = Callable[..., list[AnyArray]]
BLOCKS = ("patch_embed", "blocks.0", "blocks.1", "neck")
MIN_MAX = Recipe("min-max")


def quiet(_what: str, _done: int, _all: int) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def cases() -> CaseSet:
    return three_sets(Sources(counts=Counts(CHUNK + 1, 1, 1)), quiet).calibration


@pytest.fixture
def half(cases: CaseSet, tmp_path: Path) -> Callable[[onnx.ModelProto], HalfGraphs]:
    return lambda model: HalfGraphs(model, medsam(64), cases, Journal(tmp_path / "journal", {}), quiet)


@pytest.fixture
def int8(cases: CaseSet, tmp_path: Path) -> Callable[[onnx.ModelProto], Int8Graphs]:
    return lambda model: Int8Graphs(model, medsam(64), cases, Journal(tmp_path / "journal", {}), quiet)


Half = Callable[[onnx.ModelProto], HalfGraphs]
Int8 = Callable[[onnx.ModelProto], Int8Graphs]


def test_an_ordinary_model_has_no_islands_of_its_own(encoder: Encoder, half: Half) -> None:
    model = encoder("vit", "concat")
    graphs = half(model)
    assert graphs.blocks == BLOCKS
    assert not graphs.large
    assert graphs.graph() == halved(model, float32_nodes(model)).SerializeToString(deterministic=True)
    kept = halved(model, float32_nodes(model, ["blocks.1"]))
    assert graphs.graph(frozenset({"blocks.1"})) == kept.SerializeToString(deterministic=True)


def test_values_beyond_float16_are_islands_from_the_start(
    large_residual: onnx.ModelProto, half: Half, answers: Answers, pixels: dict[str, AnyArray]
) -> None:
    graphs = half(large_residual)
    assert min(graphs.block_peaks[block] for block in ("patch_embed", "blocks.0", "blocks.1")) > 9e4
    made = onnx.load_from_string(graphs.graph())
    [exact], [found] = answers(large_residual, pixels), answers(rounded(made), pixels)
    assert np.abs(found - exact).max() < 2e-2 * np.abs(exact).max()
    types = {one.name: one.data_type for one in made.graph.initializer}
    inside = [layer for layer in quantisable(made) if layer.block.startswith("blocks.")]
    assert {types[layer.weight] for layer in inside} == {TensorProto.FLOAT16}, "the residual alone stays float32"


def test_what_was_watched_is_not_watched_again(
    encoder: Encoder, half: Half, cases: CaseSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = encoder("vit", "concat")
    before = half(model).peaks
    assert before == peaks(model, EncoderFeeds(medsam(64), cases.refs)), "in chunks as in one run"
    monkeypatch.setattr("medsam_edge.calibration.half_graphs.peaks", None)
    assert half(model).peaks == before


def test_a_constant_beyond_float16_is_refused_by_name(encoder: Encoder, half: Half) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(encoder("vit", "concat"))
    bias = next(one for one in model.graph.initializer if one.name.endswith("blocks.0.attn.qkv.bias"))
    values = numpy_helper.to_array(bias).copy()
    values[5], values[6] = 7e4, -7e4
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    with pytest.raises(UsageError, match=r"70000 in .*blocks\.0\.attn\.qkv\.bias"):
        halved(model, float32_nodes(model))
    half(model).graph()  # the sum that it makes is too large, and stays float32 with its constant


def test_int8_layers_stand_in_float16_and_kept_blocks_are_float16_or_islands(
    encoder: Encoder, half: Half, int8: Int8
) -> None:
    model = encoder("vit", "concat")
    graphs = TensorRtGraphs(int8(model), half(model), islands=frozenset({"blocks.0"}))
    assert graphs.blocks == BLOCKS
    made = onnx.load_from_string(graphs.graph(MIN_MAX, frozenset({"blocks.0", "neck"})))
    onnx.checker.check_model(made, full_check=True)
    assert not lint(made)
    types = {one.name: one.data_type for one in made.graph.initializer}
    kept = {layer.name: types[layer.weight] for layer in quantisable(made)}
    stored = {name.split("/")[0]: kind for name, kind in types.items() if name.endswith("/weight/scale")}
    assert set(stored) == {layer.name for layer in quantisable(model)} - set(kept)
    assert set(stored.values()) == {TensorProto.FLOAT16}
    assert {kind for name, kind in kept.items() if name.startswith("neck")} == {TensorProto.FLOAT16}
    assert {kind for name, kind in kept.items() if name.startswith("blocks.0")} == {TensorProto.FLOAT}
    wide = onnx.load_from_string(graphs.graph(MIN_MAX, frozenset({"neck"})))
    scales = {one.data_type for one in wide.graph.initializer if one.name.startswith("blocks.0.mlp.lin1/weight/scale")}
    assert scales == {TensorProto.FLOAT}, "int8 between float32 neighbours"


@pytest.mark.parametrize("balance", [False, True])
def test_int8_computes_what_the_float32_graphs_int8_computes(
    encoder: Encoder, half: Half, int8: Int8, answers: Answers, pixels: dict[str, AnyArray], balance: bool
) -> None:
    model, recipe = encoder("tiny_vit", "folded"), Recipe("min-max", balance)
    graphs = TensorRtGraphs(int8(model), half(model))
    made = onnx.load_from_string(graphs.graph(recipe))
    [exact], [found] = answers(model, pixels), answers(rounded(made), pixels)
    [wide] = answers(onnx.load_from_string(graphs.int8.graph(recipe)), pixels)
    assert np.abs(found - exact).mean() < 1.3 * np.abs(wide - exact).mean()


def test_a_layer_that_sees_next_to_nothing_has_a_scale_that_float16_can_hold(
    encoder: Encoder, half: Half, int8: Int8, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = encoder("vit", "concat")
    graphs = TensorRtGraphs(int8(model), half(model))
    _, scales = graphs.int8.scaled(MIN_MAX)
    few = {**scales, "neck.0": 2.0**-32}
    monkeypatch.setattr(Int8Graphs, "scaled", lambda *_: (model, few))
    made = onnx.load_from_string(graphs.graph(MIN_MAX))
    scale = next(one for one in made.graph.initializer if one.name == "neck.0/input/scale")
    assert numpy_helper.to_array(scale) == np.float16(LEAST_SCALE) > 0
