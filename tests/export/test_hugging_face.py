"""Folders as `save_pretrained` writes them, and the key map; its forward form stands with the oracle in test_sam."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from medsam_edge.export.architecture import model_of
from medsam_edge.export.checkpoint import read_checkpoint
from medsam_edge.export.hugging_face import authors_keys, weight_files
from medsam_edge.export.models.config import DEMO, SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.runtime.errors import CheckpointError
from safetensors.torch import save_file
from torch import nn


@pytest.fixture(scope="module")
def model(model_with: Callable[[SamConfig], Sam], tiny_config: SamConfig) -> Sam:
    return model_with(tiny_config)


@pytest.fixture(scope="module")
def state(model: Sam, oracle_of: Callable[[Sam], nn.Module]) -> dict[str, torch.Tensor]:
    """Transformers' own state dict, filled by a key map that is not ours."""
    return {name: tensor.clone() for name, tensor in oracle_of(model).state_dict().items()}


def folder_with(path: Path, kind: str = "sam") -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": kind}))
    return path


def same(found: dict[str, torch.Tensor], model: Sam) -> bool:
    wanted = model.state_dict()
    return set(found) == set(wanted) and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_every_name_has_exactly_one_authors_name(model: Sam, state: dict[str, torch.Tensor]) -> None:
    assert same(authors_keys(state), model)


def test_the_authors_own_keys_stay(model: Sam) -> None:
    assert list(authors_keys(model.state_dict())) == list(model.state_dict())


def test_a_folder_a_pth_and_a_fine_tune_have_the_same_weights(
    tmp_path: Path, model: Sam, state: dict[str, torch.Tensor]
) -> None:
    folder = folder_with(tmp_path / "medsam-vit-base")
    save_file(state, folder / "model.safetensors")
    torch.save(model.state_dict(), tmp_path / "a.pth")
    torch.save({"model": {f"module.{name}": one for name, one in model.state_dict().items()}}, tmp_path / "b.pth")
    torch.save({"state_dict": {f"model.{name}": one for name, one in model.state_dict().items()}}, tmp_path / "c.ckpt")
    found = [read_checkpoint(tmp_path / name) for name in ("medsam-vit-base", "a.pth", "b.pth", "c.ckpt")]
    assert len({one.weights_sha256 for one in found}) == 1
    assert model_of(found[0].tensors).config == model.config


def test_shards_and_pickles_are_read(tmp_path: Path, model: Sam, state: dict[str, torch.Tensor]) -> None:
    names, folder = sorted(state), folder_with(tmp_path / "sharded")
    halves = {"model-1.safetensors": names[:9], "model-2.safetensors": names[9:]}
    for file, half in halves.items():
        save_file({name: state[name] for name in half}, folder / file)
    listed = {name: file for file, half in halves.items() for name in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    assert same(read_checkpoint(folder).tensors, model)
    pickled = folder_with(tmp_path / "pickled")
    torch.save(state, pickled / "pytorch_model.bin")
    assert same(read_checkpoint(pickled).tensors, model)


def test_the_demo_survives_the_way_there_and_back(oracle_of: Callable[[Sam], nn.Module]) -> None:
    torch.manual_seed(0)
    model = Sam(DEMO)
    assert same(authors_keys(dict(oracle_of(model).state_dict())), model)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "without it"),
        ({"config.json": "{"}, "Expecting property name"),
        ({"config.json": '{"model_type": "bert"}'}, "'bert'"),
        ({"config.json": '{"model_type": "sam"}'}, "neither in"),
        ({"config.json": '{"model_type": "sam"}', "model.safetensors.index.json": "{}"}, "something else"),
        (
            {
                "config.json": '{"model_type": "sam"}',
                "model.safetensors.index.json": '{"weight_map": {"a": "../../secret.safetensors"}}',
            },
            "something else",
        ),
    ],
    ids=["empty", "no JSON", "another model", "no weights", "no map", "a way out"],
)
def test_other_folders_are_refused(tmp_path: Path, files: dict[str, str], found: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        weight_files(tmp_path)
    assert found in caught.value.found
