import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from medsam_edge.export import checkpoint as module
from medsam_edge.export.checkpoint import Checkpoint, read_checkpoint, weights_hash
from medsam_edge.export.unpickle import convert
from medsam_edge.runtime.errors import CheckpointError, ExitCode, MedSAMEdgeError, StorageError
from safetensors.torch import save, save_file

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open pickles in this process: a child takes seconds to import torch."""
    monkeypatch.setattr(module, "_unpickle", convert)


def refusal(path: Path, kind: type[MedSAMEdgeError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        read_checkpoint(path)
    assert caught.value.exit_code == (ExitCode.ENVIRONMENT if kind is StorageError else ExitCode.ARTEFACT)
    assert "\n" not in str(caught.value)
    assert path.name in caught.value.found
    return str(caught.value)


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.fixture
def original(checkpoint: Path) -> Checkpoint:
    return read_checkpoint(checkpoint)


def test_a_checkpoint_says_which_file_it_was(checkpoint: Path, original: Checkpoint) -> None:
    assert original.path == checkpoint
    assert original.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_tensors_are_read_as_they_were_written(original: Checkpoint, tensors: Tensors) -> None:
    assert original.tensors.keys() == tensors.keys()
    assert all(torch.equal(original.tensors[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("metadata", "profile"), [({"profile": "medsam"}, "medsam"), ({"by": "x"}, None), (None, None)]
)
def test_the_profile_is_what_the_file_states(
    tmp_path: Path, tensors: Tensors, metadata: dict[str, str] | None, profile: str | None
) -> None:
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    assert read_checkpoint(tmp_path / "x.safetensors").profile == profile


WAYS: dict[str, Callable[[Tensors], object]] = {
    "bare": lambda tensors: tensors,
    "the authors' training": lambda tensors: {"model": tensors, "optimizer": {"state": {}}, "epoch": 3},
    "Lightning": lambda tensors: {"state_dict": prefixed(tensors, "model."), "epoch": 3},
    "several GPUs": lambda tensors: {"model": prefixed(tensors, "module.")},
    "wrapped twice": lambda tensors: prefixed(tensors, "model.module."),
    "double precision": lambda tensors: {name: tensor.double() for name, tensor in tensors.items()},
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_every_way_of_saving_the_same_weights_gives_the_same_hash(
    tmp_path: Path, tensors: Tensors, original: Checkpoint, way: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(WAYS[way](tensors), path)
    assert read_checkpoint(path).weights_sha256 == original.weights_sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_storage_hashes_as_the_float32_values_that_it_holds(
    tmp_path: Path, tensors: Tensors, dtype: torch.dtype
) -> None:
    halves = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    save_file(halves, tmp_path / "half.safetensors")
    save_file({name: tensor.float() for name, tensor in halves.items()}, tmp_path / "full.safetensors")
    half, full = read_checkpoint(tmp_path / "half.safetensors"), read_checkpoint(tmp_path / "full.safetensors")
    assert half.weights_sha256 == full.weights_sha256
    assert half.sha256 != full.sha256
    assert {tensor.dtype for tensor in half.tensors.values()} == {torch.float32}


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one value": lambda tensor: tensor.index_fill(0, torch.tensor([0]), 5.0),
    "the shape": lambda tensor: tensor[None],
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_value_or_shape_gives_another_hash(
    tmp_path: Path, tensors: Tensors, original: Checkpoint, change: str
) -> None:
    name = "mask_decoder.iou_prediction_head.layers.2.bias"
    save_file({**tensors, name: CHANGES[change](tensors[name])}, tmp_path / "x.safetensors")
    assert read_checkpoint(tmp_path / "x.safetensors").weights_sha256 != original.weights_sha256


def test_another_name_gives_another_hash() -> None:
    assert weights_hash({"a": torch.ones(2)}) != weights_hash({"b": torch.ones(2)})


def test_the_order_of_the_tensors_does_not_change_the_hash(tensors: Tensors, original: Checkpoint) -> None:
    assert weights_hash(dict(reversed(tensors.items()))) == weights_hash(tensors) == original.weights_sha256


@pytest.mark.parametrize("kept", [0, 1, 8, 100, 3000, -1])
def test_a_truncated_safetensors_is_damaged(tmp_path: Path, checkpoint: Path, kept: int) -> None:
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:kept])
    assert "download or copy it again" in refusal(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("content", [b"not a checkpoint\n" * 9, b"\xff" * 99], ids=["text", "noise"])
def test_other_bytes_called_safetensors_are_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert "cannot be read" in refusal(tmp_path / "x.safetensors")


def test_a_safetensors_without_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(save({}))
    assert "none in x.safetensors" in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["weights.onnx", "weights", "weights.txt", "weights.pkl"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert ".pth" in refusal(tmp_path / name)


def absent(path: Path) -> None:
    pass


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    assert "config.json" in refusal(tmp_path)


@pytest.mark.parametrize("make", [absent, os.mkfifo], ids=["missing", "pipe"])
def test_what_is_no_file_is_a_storage_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.pth")
    refusal(tmp_path / "x.pth", StorageError)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        (b"", "is empty", "web page"),
        (b"<html>Quota exceeded</html>", "<html>Quota", "web page"),
        (b"PK\x03\x04" + bytes(99), "cannot be read", "copy it again"),
    ],
    ids=["empty", "web page", "half a zip"],
)
def test_a_pth_that_torch_did_not_save_is_refused(tmp_path: Path, content: bytes, found: str, remedy: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    message = refusal(tmp_path / "x.pth")
    assert found in message
    assert remedy in message


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2, 3], "a list without tensors"),
        ({"epoch": 3}, "a dict with epoch without tensors"),
        (torch.nn.Linear(2, 2), "wants to run code: torch.nn.modules.linear.Linear"),
    ],
    ids=["list", "no weights", "module"],
)
def test_a_pth_without_a_state_dict_is_refused(tmp_path: Path, content: object, found: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    message = refusal(tmp_path / "x.pth")
    assert found in message
    assert "model.state_dict()" in message


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where somebody has left a `torch.py`."""
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_child_reads_a_pth_and_trusts_nothing_in_the_current_folder(
    hostile_folder: Path, tensors: Tensors, original: Checkpoint
) -> None:
    torch.save(tensors, "x.pth")
    assert read_checkpoint(Path("x.pth")).weights_sha256 == original.weights_sha256


class Code:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch marker",)


def test_code_in_a_pth_is_not_run_and_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Code()}, "x.pth")
    assert "x.pth is a pickle that wants to run code: posix.system" in refusal(Path("x.pth"))
    assert not Path("marker").exists()


def test_a_child_that_dies_is_reported_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (tmp_path / "x.pth").write_bytes(b"x")
    assert "the process that read it died: exit status 1" in refusal(tmp_path / "x.pth")


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNPICKLE_SECONDS", 0.01)
    (tmp_path / "x.pth").write_bytes(b"x")
    assert "more than 0.01 s" in refusal(tmp_path / "x.pth")


def test_a_full_temporary_folder_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_unpickle", lambda *_: {"state": "no-room", "detail": "No space left on device"})
    (tmp_path / "x.pth").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"No space left on device.*TMPDIR"):
        read_checkpoint(tmp_path / "x.pth")
