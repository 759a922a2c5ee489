"""Observing the inside of a graph, against NumPy on whole activations and torch's own hooks."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from medsam_edge.calibration import observe
from medsam_edge.calibration.observe import observed
from medsam_edge.calibration.tensor_statistics import Statistics, merged, to_arrays
from medsam_edge.export.graphs import finished, trace_encoder
from medsam_edge.export.models.config import SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.runtime.errors import BackendError, BundleError, MeasurementError, StorageError, UsageError
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import AnyArray
from onnx import TensorProto, helper, numpy_helper

TINY = SamConfig(64, 8, 32, 2, 2, 64, 3, (1,), prompt_dim=32, decoder_mlp_dim=32)
WEIGHT = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)
KERNEL = np.random.default_rng(1).standard_normal((5, 10, 1)).astype(np.float32)
TENSORS = ("tokens", "hidden", "relu", "map", "result")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """Tokens (1, 20, 6) to (1, 20, 10), to a map (1, 10, 20), to (1, 5, 20)."""
    nodes = [
        helper.make_node("MatMul", ["tokens", "weight"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["relu"]),
        helper.make_node("Transpose", ["relu"], ["map"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["map", "kernel"], ["result"]),
        helper.make_node("Cast", ["result"], ["whole"], to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [1, 20, 6])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, 5, 20])],
        [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(KERNEL, "kernel")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def feed(seed: int) -> dict[str, AnyArray]:
    random = np.random.default_rng(seed)
    return {"tokens": random.standard_normal((1, 20, 6)).astype(np.float32) * np.float32(4.0 ** (seed - 1))}


FEEDS = [feed(seed) for seed in range(4)]


def activations(tokens: AnyArray) -> dict[str, AnyArray]:
    """By NumPy, channels last."""
    hidden = tokens @ WEIGHT
    relu = np.maximum(hidden, 0)
    return {"tokens": tokens, "hidden": hidden, "relu": relu, "map": relu, "result": relu @ KERNEL[:, :, 0].T}


def same(one: Mapping[str, Statistics], other: Mapping[str, Statistics]) -> bool:
    mine, theirs = to_arrays(one), to_arrays(other)
    return list(mine) == list(theirs) and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_the_statistics_are_those_of_numpy(model: onnx.ModelProto) -> None:
    found = observed(model, TENSORS, FEEDS)
    assert tuple(found) == TENSORS
    for name, statistics in found.items():
        whole = np.concatenate([activations(each["tokens"])[name] for each in FEEDS])
        assert statistics.count == whole.size
        assert statistics.minimum == pytest.approx(whole.min(), rel=1e-5)
        assert statistics.maximum == pytest.approx(whole.max(), rel=1e-5)
        assert statistics.peaks == pytest.approx(np.abs(whole).max(axis=(0, 1)), rel=1e-4)
        counted = np.histogram(np.abs(whole), 512, (0, 2.0**statistics.exponent))[0]
        moved = np.abs(np.cumsum(statistics.histogram.reshape(512, -1).sum(1) - counted))
        assert moved.max() <= 2  # values a rounding away from a bin's edge


@pytest.mark.parametrize("budget", [1, 1000, 2000, 3000])
def test_groups_give_the_same_as_one_pass(model: onnx.ModelProto, budget: int) -> None:
    assert same(observed(model, TENSORS, FEEDS, budget_bytes=budget), observed(model, TENSORS, FEEDS))


def test_pieces_of_the_images_merge_to_the_whole(model: onnx.ModelProto) -> None:
    pieces = [observed(model, TENSORS, part) for part in (FEEDS[3:], FEEDS[:1], FEEDS[1:3])]
    assert same({name: merged(*(piece[name] for piece in pieces)) for name in TENSORS}, observed(model, TENSORS, FEEDS))


def test_each_group_costs_a_pass(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    session = observe._session

    def listening(data: bytes, threads: int | None) -> object:
        asked.append([value.name for value in onnx.load_model_from_string(data).graph.output])
        return session(data, threads)

    monkeypatch.setattr(observe, "_session", listening)
    steps: list[tuple[int, int]] = []
    observed(model, ["result", "tokens", "hidden"], FEEDS, budget_bytes=1300, progress=lambda *at: steps.append(at))
    assert asked == [["tokens", "hidden"], ["result"]]
    assert steps == [(done, 8) for done in range(1, 9)]


def test_what_is_not_on_the_way_to_a_tensor_is_not_computed(model: onnx.ModelProto) -> None:
    longer = onnx.ModelProto()
    longer.CopyFrom(model)
    longer.graph.initializer.append(numpy_helper.from_array(np.array([99]), "nowhere"))
    longer.graph.node.append(helper.make_node("Gather", ["result", "nowhere"], ["fails"], axis=1))
    assert same(observed(longer, ["result"], FEEDS), observed(model, ["result"], FEEDS))
    with pytest.raises(BackendError, match="ONNX Runtime to answer"):
        observed(longer, ["fails"], FEEDS)


def test_the_model_is_not_changed_and_a_file_serves_as_well(model: onnx.ModelProto, tmp_path: Path) -> None:
    before = model.SerializeToString(deterministic=True)
    found = observed(model, ["relu"], FEEDS)
    assert model.SerializeToString(deterministic=True) == before
    (tmp_path / "a.onnx").write_bytes(before)
    assert same(observed(tmp_path / "a.onnx", ["relu"], FEEDS, threads=1), found)


def test_the_caller_may_name_the_axis(model: onnx.ModelProto) -> None:
    found = observed(model, ["relu", "map"], FEEDS, axes={"relu": 1})
    assert (len(found["relu"].peaks), len(found["map"].peaks)) == (20, 10)


def test_a_tensor_named_twice_is_observed_once(model: onnx.ModelProto) -> None:
    assert observed(model, ["relu", "relu"], FEEDS)["relu"].count == 4 * 200


class Stop(BaseException):
    pass


def test_what_the_progress_raises_ends_the_work(model: onnx.ModelProto) -> None:
    seen, raised = [], Stop()

    def feeds() -> Iterator[dict[str, AnyArray]]:
        for each in FEEDS:
            seen.append(each)
            yield each

    class Lazy(list[dict[str, AnyArray]]):
        def __iter__(self) -> Iterator[dict[str, AnyArray]]:
            return feeds()

    def stop(done: int, _all: int) -> None:
        if done == 2:
            raise raised

    with pytest.raises(Stop) as caught:
        observed(model, TENSORS, Lazy(FEEDS), progress=stop)
    assert caught.value is raised
    assert len(seen) == 2  # images are made one at a time


class Once(list[dict[str, AnyArray]]):
    """Gives its images a single time, as an open file does."""

    def __iter__(self) -> Iterator[dict[str, AnyArray]]:
        while self.left:
            yield self.left.pop()

    def __init__(self) -> None:
        super().__init__(FEEDS)
        self.left = list(FEEDS)


def test_images_that_cannot_be_gone_through_again_are_refused(model: onnx.ModelProto) -> None:
    assert observed(model, ["relu"], Once())["relu"].count == 800
    with pytest.raises(UsageError, match="gone through again; found 0 of 4 in this pass"):
        observed(model, TENSORS, Once(), budget_bytes=1)
    with pytest.raises(UsageError, match="gone through again; found a generator"):
        observed(model, TENSORS, (each for each in FEEDS))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one image"):
        observed(model, TENSORS, [])


def test_a_wrong_request_is_refused_by_name(model: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match="no `hiden` among 6; closest: hidden"):
        observed(model, ["hiden"], FEEDS)
    with pytest.raises(UsageError, match="int32 in whole"):
        observed(model, ["whole"], FEEDS)
    with pytest.raises(UsageError, match="the inputs tokens; found image"):
        observed(model, ["relu"], [{"image": FEEDS[0]["tokens"]}])
    with pytest.raises(BackendError, match="ONNX Runtime"):
        observed(model, ["relu"], [{"tokens": FEEDS[0]["tokens"][:, :, :5]}])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(model: onnx.ModelProto, value: float) -> None:
    spoilt = FEEDS[1]["tokens"].copy()
    spoilt[0, 7, 2] = value
    with pytest.raises(MeasurementError, match="finite values in hidden; found NaN or infinity"):
        observed(model, ["hidden"], [FEEDS[0], {"tokens": spoilt}])


def test_a_file_that_is_no_graph_is_refused(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    with pytest.raises(BundleError, match="an ONNX graph"):
        observed(tmp_path / "a.onnx", ["relu"], FEEDS)
    with pytest.raises(StorageError, match="No such file"):
        observed(tmp_path / "b.onnx", ["relu"], FEEDS)
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    broken.graph.node[1].op_type = "Rely"
    with pytest.raises(BundleError, match="this ONNX Runtime can load"):
        observed(broken, ["relu"], FEEDS)


def test_an_exported_encoder_is_seen_as_torchs_hooks_see_it() -> None:
    torch.manual_seed(3)
    sam = Sam(TINY).eval().requires_grad_(False)
    images = [torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    hooked: dict[str, AnyArray] = {}

    def watch(name: str, values: torch.Tensor) -> None:
        peaks = values.abs().reshape(-1, values.shape[-1]).amax(0).numpy()
        hooked[name] = np.maximum(hooked.get(name, peaks), peaks)

    layers = {name: each for name, each in sam.image_encoder.named_modules() if isinstance(each, torch.nn.Linear)}
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(lambda _, inputs, name=name: watch(name, inputs[0]))
            hooks.callback(hook.remove)
        for image in images:
            sam.encode(image)
    model = onnx.load_model_from_string(finished(trace_encoder(sam, medsam(sam.config.image_size)).model))
    weights = {each.name for each in model.graph.initializer if len(each.dims) == 2}  # tables of positions have three
    linear = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights]
    found = observed(model, [node.input[0] for node in linear], [{"image": image.numpy()} for image in images])
    assert len(linear) == len(hooked) == 8
    for peaks, node in zip(hooked.values(), linear, strict=True):
        assert found[node.input[0]].peaks == pytest.approx(peaks, rel=1e-4, abs=1e-6)
