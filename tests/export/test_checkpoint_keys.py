"""Which of a file's tensors are the model's, and which of those its weights' hash counts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.export import checkpoint as module
from medsam_edge.export.architecture import model_of
from medsam_edge.export.checkpoint import PREFIXES, Checkpoint, read_checkpoint, weights_hash
from medsam_edge.export.models.config import LITE_MEDSAM, SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.unpickle import convert
from medsam_edge.runtime.errors import CheckpointError
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]
ONE = torch.ones(1)
COUNTER = ".num_batches_tracked"
SMALL = replace(
    LITE_MEDSAM, widths=(8, 16, 24, 32), depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), windows=(7, 3, 5, 7), prompt_dim=32
)


def reread(tensors: Tensors, folder: Path) -> Checkpoint:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "x.safetensors")
    return read_checkpoint(folder / "x.safetensors")


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("beside", ["loss.pos_weight", "pos_weight", "models.step", "criterion.model.weight"])
@pytest.mark.parametrize("prefix", [*PREFIXES, "model.module.", "sam.model.module."])
def test_what_stands_beside_a_wrapped_model_is_left_out_and_named(
    tmp_path: Path, tensors: Tensors, prefix: str, beside: str
) -> None:
    found = reread({**prefixed(tensors, prefix), beside: ONE}, tmp_path)
    assert found.weights_sha256 == weights_hash(tensors)
    assert found.left_out == (beside,)


def test_nothing_is_left_out_of_a_model_alone(tmp_path: Path, tensors: Tensors) -> None:
    assert reread(prefixed(tensors, "model."), tmp_path).left_out == ()


def test_transformers_keys_are_unwrapped_too(tmp_path: Path) -> None:
    names = ("vision_encoder.pos_embed", "shared_image_embedding.positional_embedding", "prompt_encoder.x")
    found = reread({**{f"model.{name}": ONE for name in names}, "loss.pos_weight": ONE}, tmp_path)
    assert set(found.tensors) == {"image_encoder.pos_embed", *names[1:]}


@pytest.mark.parametrize("inside", ["adapter.weight", "image_encoder.lora_A", "loss.pos_weight"])
def test_a_tensor_inside_the_model_is_never_left_out(tmp_path: Path, tensors: Tensors, inside: str) -> None:
    found = reread({**prefixed({**tensors, inside: ONE}, "model."), "loss.pos_weight": ONE}, tmp_path)
    assert inside in found.tensors
    with pytest.raises(CheckpointError, match=f"1 left over .{inside}"):
        model_of(found.tensors)


@pytest.mark.parametrize("name", ["loss.pos_weight", "adapter.weight"])
def test_a_model_without_a_prefix_has_nothing_beside_it(tmp_path: Path, tensors: Tensors, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"1 left over .{name}"):
        model_of(reread({**tensors, name: ONE}, tmp_path).tensors)


@pytest.mark.parametrize("other", ["", "ema.", "model.teacher.", "sam."])
def test_of_two_models_none_is_chosen(tmp_path: Path, tensors: Tensors, other: str) -> None:
    both = {**prefixed(tensors, "model."), other + "mask_decoder.iou_token.weight": ONE, "loss.pos_weight": ONE}
    found = reread(both, tmp_path)
    assert found.tensors.keys() == both.keys()
    with pytest.raises(CheckpointError):
        model_of(found.tensors)


def test_a_prefix_that_nobody_knows_is_kept(tmp_path: Path, tensors: Tensors) -> None:
    strange = {**prefixed(tensors, "network."), "loss.pos_weight": ONE}
    assert reread(strange, tmp_path).tensors.keys() == strange.keys()


@pytest.fixture(scope="module")
def tiny_vit() -> Tensors:
    """A small TinyViT in one piece: seeded weights, counters as a training leaves them."""
    torch.manual_seed(3)
    state = Sam(SMALL).state_dict()
    return {name: torch.tensor(40) if name.endswith(COUNTER) else tensor for name, tensor in state.items()}


def without_counters(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def with_head(tensors: Tensors) -> Tensors:
    head = ("norm_head.weight", "norm_head.bias", "head.weight", "head.bias")
    return {**tensors, **{f"image_encoder.{name}": torch.full((3,), torch.nan) for name in head}}


def counted(tensors: Tensors) -> Tensors:
    return {name: tensor + 1 if name.endswith(COUNTER) else tensor for name, tensor in tensors.items()}


WAYS: dict[str, Callable[[Tensors], object]] = {
    "bare": lambda tensors: tensors,
    "without counters": without_counters,
    "other counters": counted,
    "counters as floats": lambda tensors: {name: tensor.float() for name, tensor in tensors.items()},
    "with the classification head": with_head,
    "the head and no counters": lambda tensors: with_head(without_counters(tensors)),
    "several GPUs": lambda tensors: {"model": prefixed(tensors, "module."), "epoch": 3},
    "Lightning": lambda tensors: {"state_dict": {**prefixed(with_head(tensors), "model."), "loss.pos_weight": ONE}},
    "a numpy loss": lambda tensors: {"model": tensors, "best_loss": np.float64(0.25)},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_saving_a_tiny_vit_gives_one_hash_and_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_vit: Tensors, way: str
) -> None:
    monkeypatch.setattr(module, "_unpickle", convert)
    torch.save(WAYS[way](tiny_vit), tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert found.weights_sha256 == weights_hash(tiny_vit)
    state = model_of(found.tensors).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in without_counters(tiny_vit).items())
    assert not any(tensor.is_meta for tensor in state.values())


@pytest.mark.parametrize(
    "name",
    [
        "image_encoder.neck.1.weight",
        "image_encoder.patch_embed.seq.0.bn.running_mean",
        "mask_decoder.iou_token.weight",
    ],
)
def test_what_a_tiny_vit_computes_with_changes_its_hash(tiny_vit: Tensors, name: str) -> None:
    assert weights_hash({**tiny_vit, name: tiny_vit[name] + 1}) != weights_hash(tiny_vit)


@pytest.mark.parametrize(
    "name", ["image_encoder.headless.weight", "mask_decoder.head.weight", f"image_encoder.adapter{COUNTER}"]
)
def test_a_tensor_that_only_looks_unused_counts_and_is_refused(tiny_vit: Tensors, name: str) -> None:
    changed = {**tiny_vit, name: ONE}
    assert weights_hash(changed) != weights_hash(tiny_vit)
    with pytest.raises(CheckpointError, match=f"1 left over .{name}"):
        model_of(changed)


@pytest.mark.parametrize("name", ["image_encoder.head.weight", f"image_encoder.neck.1{COUNTER}"])
def test_a_vit_has_no_unused_tensors(tensors: Tensors, tiny_config: SamConfig, name: str) -> None:
    changed = {**tensors, name: ONE}
    assert weights_hash(changed) != weights_hash(tensors)
    with pytest.raises(CheckpointError, match=f"1 left over .{name}"):
        model_of(changed)
