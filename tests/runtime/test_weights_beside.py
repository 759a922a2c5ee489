"""Bundles whose graphs do not hold their weights themselves: written, read, damaged, replaced."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.claim import is_ours
from medsam_edge.runtime.errors import BundleError, StorageError, UsageError
from medsam_edge.runtime.loading import load
from medsam_edge.runtime.manifest import Manifest, Model, PartSpec, TensorSpec
from medsam_edge.runtime.store import BundleWriter
from medsam_edge.runtime.types import AnyArray

onnx = pytest.importorskip("onnx")
SIDE = 40
PART = PartSpec("encoder", (TensorSpec("x", "float32", ("N", SIDE)),), (TensorSpec("product", "float32", ("N", SIDE)),))


def matrix(seed: int) -> AnyArray:
    return np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)


def graph(location: str) -> bytes:
    """One product with a matrix that lies in another file."""
    weight = onnx.TensorProto(
        name="w", dims=(SIDE, SIDE), data_type=onnx.TensorProto.FLOAT, data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in {"location": location, "offset": 0, "length": 4 * SIDE * SIDE}.items():
        weight.external_data.add(key=key, value=str(value))
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(one.name, float32, one.shape) for one in (*PART.inputs, *PART.outputs)]
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["product"])], "g", values[:1], values[1:], [weight]
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def named(weights: bytes) -> str:
    return f"{hashlib.sha256(weights).hexdigest()}.bin"


def commit(writer: BundleWriter) -> Manifest:
    model = Model("m", "sam_vit", {}, "0" * 64, True, "m.pth", "0" * 64)
    return writer.commit(model=model, profile={}, pipeline=("encoder",), parts=(PART,), embedding_size=64)


def add(writer: BundleWriter, weights: bytes, form: str = "tiled") -> None:
    writer.add_graph(graph(named(weights)), part="encoder", precision="fp32", form=form, targets=(), weights=[weights])


def export(path: Path, seed: int = 0) -> Manifest:
    with BundleWriter(path) as writer:
        add(writer, matrix(seed).tobytes())
        return commit(writer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    export(tmp_path / "b")
    return tmp_path / "b"


def beside(root: Path) -> Path:
    (path,) = (root / "graphs").glob("*.bin")
    return path


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_the_weights_are_a_file_under_the_name_of_its_hash(root: Path) -> None:
    manifest = open_bundle(root).manifest
    (entry,) = manifest.graphs[0].weights
    assert (root / entry.file).read_bytes() == matrix(0).tobytes()
    assert (entry.file, entry.bytes) == (f"graphs/{named(matrix(0).tobytes())}", 4 * SIDE * SIDE)
    assert names(root) == manifest.files() | {"manifest.json"}


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def linked(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / "elsewhere"))


def cut(path: Path) -> None:
    os.truncate(path, 100)


@pytest.mark.parametrize(
    ("harm", "said"),
    [(flipped, "altered"), (linked, "symbolic link"), (cut, "100 bytes"), (Path.unlink, "which the manifest lists")],
)
def test_weights_that_are_not_as_exported_are_refused(root: Path, harm: Callable[[Path], None], said: str) -> None:
    path = beside(root)
    harm(path)
    with pytest.raises(BundleError, match=said) as caught:
        open_bundle(root)
    assert path.name in str(caught.value)


def test_a_new_bundle_takes_the_old_weights_away_and_a_lost_one_its_own(root: Path) -> None:
    old = beside(root)
    with BundleWriter(root) as writer:
        add(writer, matrix(1).tobytes())
    assert beside(root) == old
    manifest = export(root, seed=1)
    assert beside(root) != old
    assert names(root) == manifest.files() | {"manifest.json"}


def test_two_graphs_share_their_weights_and_a_file_that_is_there_is_not_written_again(root: Path) -> None:
    before = beside(root).stat()
    data = root / open_bundle(root).entry("encoder", "fp32").file
    with BundleWriter(root) as writer:
        writer.add_graph(data, part="encoder", precision="fp32", form="tiled", targets=(), weights=[beside(root)])
        add(writer, matrix(0).tobytes(), form="concat")
        commit(writer)
    assert beside(root).stat() == before
    assert len(open_bundle(root).manifest.graphs) == 2


def test_damaged_weights_are_written_anew(root: Path) -> None:
    flipped(beside(root))
    export(root)
    open_bundle(root)


@pytest.mark.parametrize("location", ["../../secret", "/etc/passwd", "0" * 64 + ".bin"])
@pytest.mark.parametrize("listed", [True, False])
def test_no_graph_that_names_another_file_is_written(tmp_path: Path, location: str, listed: bool) -> None:
    with BundleWriter(tmp_path / "b") as writer, pytest.raises(BundleError, match="to refer to no file but"):
        writer.add_graph(
            graph(location),
            part="encoder",
            precision="fp32",
            form="tiled",
            targets=(),
            weights=[matrix(0).tobytes()] if listed else [],
        )
    assert not (tmp_path / "b").exists()


def test_weights_that_cannot_be_read_are_an_error_of_ours(tmp_path: Path) -> None:
    absent = tmp_path / "absent.bin"
    with BundleWriter(tmp_path / "b") as writer, pytest.raises(StorageError, match=r"absent\.bin"):
        writer.add_graph(graph("x"), part="encoder", precision="fp32", form="f", targets=(), weights=[absent])


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A whole bundle with fitting hashes, whose maker named a file outside of it."""
    secret = tmp_path / "secret"
    secret.write_bytes(matrix(5).tobytes())
    with monkeypatch.context() as patch:
        patch.setattr("medsam_edge.runtime.store.check_external_data", lambda *_: None)
        with BundleWriter(tmp_path / "b") as writer:
            writer.add_graph(graph("../../secret"), part="encoder", precision="fp32", form="f", targets=())
            commit(writer)
    yield tmp_path / "b"
    assert secret.read_bytes() == matrix(5).tobytes()


def test_a_bundle_that_names_a_file_outside_is_refused_when_it_is_opened(hostile: Path) -> None:
    with pytest.raises(BundleError, match=r"no file but itself; found '\.\./\.\./secret'"):
        open_bundle(hostile)


@pytest.mark.parametrize("name", ["graphs/" + "0" * 64 + ".bin", "golden/" + "0" * 64 + ".bin"])
def test_only_among_graphs_a_lost_bin_is_ours(tmp_path: Path, name: str) -> None:
    folder, file = name.split("/")
    assert is_ours(folder, file) == (folder == "graphs")
    (tmp_path / folder).mkdir()
    (tmp_path / name).write_bytes(b"left by a killed export, or somebody's")
    if folder == "graphs":
        export(tmp_path)
        assert not (tmp_path / name).exists()
    else:
        with pytest.raises(UsageError):
            export(tmp_path)


def test_with_a_state_folder_too_nothing_is_opened_before_it_was_checked(
    tmp_path: Path, write_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the bundle is not hashed when it is opened, but each graph when it is used."""
    graphs = {"encoder": graph("../../secret")}
    with monkeypatch.context() as patch:
        patch.setattr("medsam_edge.runtime.store.check_external_data", lambda *_: None)
        root = write_bundle(tmp_path / "b", (), graphs=graphs)
    for state in (None, tmp_path / "state"):
        with pytest.raises(BundleError, match="secret"):
            load(root, "fake", state=state)
