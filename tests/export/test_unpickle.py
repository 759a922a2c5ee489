"""The converter in this process; that it runs as a child is tested with `read_checkpoint`."""

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.export import unpickle
from medsam_edge.export.unpickle import convert, tensors_of
from safetensors.torch import load_file

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(400)}


class Code:
    """Touches a file when a careless reader opens the pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def answer(content: object, folder: Path, **options: object) -> dict[str, str]:
    """Save with torch (bytes: as they are) and convert."""
    source = folder / "x.pth"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        torch.save(content, source, **options)
    return convert(source, folder / "out.safetensors")


def saved(legacy: bool) -> bytes:
    with tempfile.TemporaryFile() as file:
        torch.save(WEIGHTS, file, _use_new_zipfile_serialization=not legacy)
        file.seek(0)
        return file.read()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_a_state_dict_comes_out_as_it_went_in(tmp_path: Path, legacy: bool) -> None:
    assert answer(saved(legacy), tmp_path)["state"] == "ok"
    out = load_file(tmp_path / "out.safetensors")
    assert out.keys() == WEIGHTS.keys()
    assert all(torch.equal(out[name], WEIGHTS[name]) for name in WEIGHTS)


def test_tensors_that_share_storage_come_out_whole(tmp_path: Path) -> None:
    base = torch.arange(8.0)
    assert answer({"all": base, "tail": base[4:], "turned": base.reshape(2, 4).T}, tmp_path)["state"] == "ok"
    out = load_file(tmp_path / "out.safetensors")
    assert (out["tail"].tolist(), out["turned"].shape) == ([4, 5, 6, 7], (4, 2))


@pytest.mark.parametrize("key", unpickle.WRAPPERS)
def test_weights_are_found_inside_a_trainers_file(key: str) -> None:
    assert tensors_of({"epoch": 3, key: WEIGHTS, "optimizer": {"state": {}}}) == WEIGHTS


def test_wrappers_inside_wrappers_are_opened() -> None:
    assert tensors_of({"state_dict": {"model": WEIGHTS}}) == WEIGHTS


def test_what_is_no_tensor_is_left_out() -> None:
    assert tensors_of({**WEIGHTS, "epoch": 3, "name": "x"}) == WEIGHTS


@pytest.mark.parametrize("at", [0.001, 0.01, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_a_truncated_file_is_damaged(tmp_path: Path, legacy: bool, at: float) -> None:
    whole = saved(legacy)
    assert answer(whole[: max(4, int(len(whole) * at))], tmp_path)["state"] == "damaged"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"epoch,loss\n1,0.5\n", "starts with b'epoch,loss"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "starts with b'<!DOCTYPE html>"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(99), "JFIF"),
        (b"\x08\n\x12\npytorch" + bytes(99), "pytorch"),
        (pickle.dumps([1, 2, 3]), "is a plain Python pickle"),
    ],
    ids=["empty", "text", "web page", "JPEG", "ONNX", "pickle"],
)
def test_what_torch_did_not_save_is_foreign(tmp_path: Path, content: bytes, found: str) -> None:
    said = answer(content, tmp_path)
    assert said["state"] == "foreign"
    assert found in said["detail"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_a_new_pickle_protocol_inside_a_zip_is_foreign_and_not_code(tmp_path: Path) -> None:
    assert answer(WEIGHTS, tmp_path, pickle_protocol=4)["state"] == "foreign"


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    answer(pickle.dumps(Code(marker), protocol), tmp_path)
    said = answer({"model": WEIGHTS, "extra": Code(marker)}, tmp_path)
    assert said == {"state": "code", "detail": "is a pickle that wants to run code: posix.system"}
    assert not marker.exists()


def test_the_test_of_code_could_fail(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Code(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [(torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"), ({"args": argparse.Namespace(lr=1)}, "Namespace")],
    ids=["module", "arguments"],
)
def test_objects_are_code_and_named(tmp_path: Path, content: object, name: str) -> None:
    said = answer(content, tmp_path)
    assert said["state"] == "code"
    assert said["detail"].endswith(name)


def test_torchs_own_advice_to_allow_the_code_is_not_passed_on(tmp_path: Path) -> None:
    assert "safe_globals" not in json.dumps(answer(torch.nn.Linear(2, 2), tmp_path))


SCALARS = (np.float64(0.25), np.float32(1), np.int64(3), np.bool_(True), np.str_("best"), np.datetime64("2024-01-01"))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("value", [*SCALARS, np.dtype("f4")], ids=repr)
def test_numpy_scalars_beside_the_weights_are_skipped(tmp_path: Path, value: object, legacy: bool) -> None:
    content = {"model": WEIGHTS, "best_loss": value, "epoch": 3}
    assert answer(content, tmp_path, _use_new_zipfile_serialization=not legacy)["state"] == "ok"
    assert load_file(tmp_path / "out.safetensors").keys() == WEIGHTS.keys()


def called(function: str, *arguments: object, state: object = None) -> bytes:
    """Write a call by name as torch.save did before 1.6: magic number, version, system, content, no storages."""
    module, _, name = function.rpartition(".")
    given = b"".join(pickle.dumps(argument, 2)[2:-1] for argument in arguments)
    set_to = b"" if state is None else pickle.dumps(state, 2)[2:-1] + b"b"
    content = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + given + b"tR" + set_to + b"."
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return head + content + pickle.dumps([], 2)


@pytest.mark.parametrize("name", ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"])
def test_scalars_of_numpy_1_and_2_are_known(tmp_path: Path, name: str) -> None:
    said = answer(called(name, "f8", b"12345678"), tmp_path)
    assert said == {"state": "no-tensors", "detail": "a NumpyScalar"}


def test_numpy_itself_never_sees_what_the_pickle_says(tmp_path: Path) -> None:
    flags = (3, "|", None, None, None, 8, 8, 0)  # a dtype of objects that denies it: numpy would follow its pointers
    said = answer(called("numpy.dtype", "no such type", False, True, state=flags), tmp_path)
    assert said == {"state": "no-tensors", "detail": "a NumpyScalar"}


@pytest.mark.parametrize(
    ("value", "name"),
    [(np.ones(2), "_reconstruct"), (np.float64, "numpy.float64"), (np.random.default_rng(0), "__generator_ctor")],
    ids=["array", "class", "generator"],
)
def test_anything_else_of_numpy_stays_refused(tmp_path: Path, value: object, name: str) -> None:
    said = answer({"model": WEIGHTS, "extra": value}, tmp_path)
    assert said["state"] == "code"
    assert said["detail"].endswith(name)


def test_numpy_is_let_in_while_a_file_is_read_and_no_longer(tmp_path: Path) -> None:
    answer(WEIGHTS, tmp_path)
    assert not any("numpy" in str(known) for known in torch.serialization.get_safe_globals())


@pytest.mark.filterwarnings("ignore:.*TorchScript.*", "ignore:`torch.jit.*:DeprecationWarning")
def test_a_torchscript_program_is_code(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    assert answer((tmp_path / "x.pt").read_bytes(), tmp_path) == {"state": "code", "detail": "is a TorchScript program"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2, 3], "a list"),
        (torch.ones(3), "a Tensor"),
        ({}, "a dict"),
        ({"epoch": 1, "weights": {"a": 1}}, "a dict with epoch, weights"),
    ],
    ids=["list", "tensor", "nothing", "unknown wrapper"],
)
def test_what_holds_no_tensors_is_described(tmp_path: Path, content: object, found: str) -> None:
    assert answer(content, tmp_path) == {"state": "no-tensors", "detail": found}


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "x.pth")
    assert convert(tmp_path / "x.pth", tmp_path / "absent" / "out.safetensors")["state"] == "no-room"


def test_it_runs_alone_and_answers_in_one_line(tmp_path: Path) -> None:
    program = shutil.copy(unpickle.__file__, tmp_path)  # where no package is
    torch.save(WEIGHTS, tmp_path / "x.pth")
    command = [sys.executable, program, str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == {"state": "ok", "detail": ""}
