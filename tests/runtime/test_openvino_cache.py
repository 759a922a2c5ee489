"""Compiled models of a bundle that OpenVINO really runs, in a state folder."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime import load
from medsam_edge.runtime import state as state_module
from medsam_edge.runtime.backends import openvino_cache as module
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, StorageError, UsageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.machine import processor_features
from medsam_edge.runtime.predictor import Prediction
from medsam_edge.runtime.state import CacheStatus, StateFolder
from medsam_edge.runtime.stored import bundle_state

openvino = pytest.importorskip("openvino")
IMAGE = np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8)
BOXES = [[3, 4, 40, 30], [10, 10, 60, 45]]
REUSED = {"encoder": CacheStatus("reused"), "decoder": CacheStatus("reused")}
Opened = tuple[dict[str, CacheStatus], Prediction]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hashes of what reaches the library's parser, in order."""
    seen: list[str] = []
    real = openvino.Core.import_model

    def watched(self: object, blob: Any, *rest: object) -> object:  # noqa: ANN401 - a tensor of the library
        seen.append(hashlib.sha256(blob.data).hexdigest())
        return real(self, blob, *rest)

    monkeypatch.setattr(openvino.Core, "import_model", watched)
    return iter([seen])


def opened(bundle: Path, state: Path | None, backend: str = "openvino", threads: int | None = None) -> Opened:
    with load(bundle, backend, state=state, threads=threads) as predictor:
        return predictor.cache, predictor.segment(IMAGE, BOXES)


def blobs(state: Path) -> dict[str, Path]:
    return {entry.key.part: state / entry.file for entry in StateFolder(state).read()[0].blobs}


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def graph_file(bundle: Bundle, part: str = "encoder") -> Path:
    return bundle.root / bundle.entry(part, "fp32").file


def same(one: Prediction, other: Prediction) -> bool:
    pairs = ((one.masks, other.masks), (one.low_res_logits, other.low_res_logits))
    iou = np.array_equal(one.iou_predictions, other.iou_predictions)
    return iou and all(np.array_equal(first, second) for first, second in pairs)


def test_a_model_is_built_once_and_used_again_with_the_same_masks_bit_for_bit(real_bundle: Path, state: Path) -> None:
    cache, plain = opened(real_bundle, None)
    assert cache == {"encoder": CacheStatus("off"), "decoder": CacheStatus("off")}
    cache, first = opened(real_bundle, state)
    assert cache == {"encoder": CacheStatus("built"), "decoder": CacheStatus("built")}
    cache, again = opened(real_bundle, state)
    assert cache == REUSED
    assert same(plain, first)
    assert same(plain, again)
    assert plain.served_by == again.served_by
    assert np.ptp(plain.low_res_logits) > 0


def test_nothing_is_written_unless_it_was_asked_for(
    real_bundle: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    opened(real_bundle, None)
    assert everything(tmp_path) == before
    opened(real_bundle, state)
    assert {name for name in everything(tmp_path) if str(state) not in name} == set(before)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.write_bytes(b""), Path.unlink],
)
def test_a_damaged_blob_never_reaches_the_parser_and_is_rebuilt(
    real_bundle: Path, state: Path, harm: Callable[[Path], None], imported: Iterator[list[str]]
) -> None:
    seen = next(imported)
    _, wanted = opened(real_bundle, state)
    whole = {part: path.stem for part, path in blobs(state).items()}
    harm(blobs(state)["encoder"])
    cache, found = opened(real_bundle, state)
    assert cache["encoder"].outcome == "rebuilt"
    assert whole["encoder"] in cache["encoder"].reason
    assert cache["decoder"] == CacheStatus("reused")
    assert seen == [whole["decoder"]]
    assert same(found, wanted)
    assert opened(real_bundle, state)[0] == REUSED


def test_a_new_version_of_the_library_rebuilds_and_says_so(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(real_bundle, state)
    monkeypatch.setattr(openvino, "get_version", lambda: "2099.1.0-1-x")
    cache, _ = opened(real_bundle, state)
    assert cache["encoder"].outcome == "rebuilt"
    assert cache["encoder"].reason.endswith("is 2099.1.0-1-x")
    assert len(blobs(state)) == 2
    assert len(list(state.iterdir())) == 3


def test_a_new_bundle_in_the_same_place_replaces_its_blobs(
    real_bundle: Path,
    state: Path,
    write_bundle: Callable[..., Path],
    other_graphs: dict[str, bytes],
    tiny_golden: Golden,
) -> None:
    _, old = opened(real_bundle, state)
    write_bundle(real_bundle, tiny_golden, graphs=other_graphs)
    cache, new = opened(real_bundle, state)
    assert cache["encoder"].reason.startswith("graph was ")
    assert not same(old, new)
    assert same(new, opened(real_bundle, None)[1])
    assert len(list(state.iterdir())) == 3


def test_a_device_that_does_not_state_its_capabilities_is_told_apart_without_them(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = openvino.Core.get_property

    def silent(self: object, device: str, name: str) -> object:
        if name == "OPTIMIZATION_CAPABILITIES":
            raise RuntimeError("Unsupported property OPTIMIZATION_CAPABILITIES")
        return real(self, device, name)

    monkeypatch.setattr(openvino.Core, "get_property", silent)
    assert opened(real_bundle, state)[0]["encoder"] == CacheStatus("built")
    assert opened(real_bundle, state)[0] == REUSED
    assert StateFolder(state).read()[0].blobs[0].key.capabilities == processor_features()


def test_threads_are_part_of_the_key(real_bundle: Path, state: Path) -> None:
    opened(real_bundle, state)
    assert opened(real_bundle, state, threads=1)[0]["encoder"] == CacheStatus("built")
    assert opened(real_bundle, state, threads=1)[0] == REUSED
    assert opened(real_bundle, state)[0] == REUSED


@pytest.mark.skipif("avx512_bf16" not in processor_features(), reason="this processor has no bf16")
def test_the_precision_stays_what_was_asked_for(real_bundle: Path, state: Path) -> None:
    """An import that is not told the precision computes in bf16 on such a processor."""
    for backend, precision in (("openvino", "f32"), ("openvino:CPU:bf16", "bf16")):
        plain, built, reused = (opened(real_bundle, folder, backend)[1] for folder in (None, state, state))
        assert {one.served_by.precision for one in (plain, built, reused)} == {precision}
        assert same(plain, built)
        assert same(plain, reused)
    assert opened(real_bundle, state, "openvino:CPU:bf16")[0] == REUSED


def test_an_import_that_computes_in_another_precision_is_not_used(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(real_bundle, state)
    answers = iter(["bf16", "f32", "bf16", "f32"])
    monkeypatch.setattr(module, "precision_of", lambda _: next(answers))
    cache, found = opened(real_bundle, state)
    assert cache["encoder"] == CacheStatus("rebuilt", "imported, it computes in bf16, not f32")
    assert found.served_by.precision == "f32"


def test_a_blob_that_the_library_refuses_is_rebuilt(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Exception from src/inference:\nnot my blob\n")

    opened(real_bundle, state)
    monkeypatch.setattr(openvino.Core, "import_model", refuse)
    cache, _ = opened(real_bundle, state)
    assert cache["decoder"] == CacheStatus("rebuilt", "OpenVINO could not import it: not my blob")


def test_a_library_that_takes_bytes_only_is_given_the_hashed_ones(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = openvino.Core.import_model

    def old(self: object, blob: object, *rest: object) -> object:
        if not isinstance(blob, bytes):
            raise TypeError("must be an io.BytesIO object or bytes")
        return real(self, blob, *rest)

    _, wanted = opened(real_bundle, state)
    monkeypatch.setattr(openvino.Core, "import_model", old)
    cache, found = opened(real_bundle, state)
    assert cache == REUSED
    assert same(found, wanted)


def test_a_disk_that_cannot_be_written_stops_nobody(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("a path that can be written", "“No space left on device”", "free some space")

    monkeypatch.setattr(state_module, "write_atomic", full)
    cache, found = opened(real_bundle, state)
    assert cache["encoder"].outcome == "built"
    assert "No space left" in cache["encoder"].unsaved
    assert same(found, opened(real_bundle, None)[1])


def test_a_folder_that_cannot_be_trusted_is_an_error(real_bundle: Path, state: Path) -> None:
    with pytest.raises(UsageError):
        load(real_bundle, "openvino", state=real_bundle)
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(StorageError, match="chmod go-w"):
        load(real_bundle, "openvino", state=state)


def test_a_graph_is_hashed_before_it_is_compiled_and_left_unread_where_it_need_not_be(
    real_bundle: Path, state: Path
) -> None:
    _, wanted = opened(real_bundle, state)
    flip(graph_file(open_bundle(real_bundle)))
    cache, found = opened(real_bundle, state)
    assert cache == REUSED
    assert same(found, wanted)
    blobs(state)["encoder"].unlink()
    for folder in (state, None):
        with pytest.raises(BundleError, match="as exported"):
            load(real_bundle, "openvino", state=folder)


@pytest.mark.parametrize("name", ["onnxruntime", "fake"])
def test_a_backend_that_keeps_nothing_says_so_and_hashes_its_graphs(real_bundle: Path, state: Path, name: str) -> None:
    if name == "onnxruntime":
        pytest.importorskip(name)
    cache, _ = opened(real_bundle, state, name)
    assert cache["encoder"] == CacheStatus("off", f"{name} keeps no compiled models")
    assert not state.exists()
    flip(graph_file(open_bundle(real_bundle), "decoder"))
    with pytest.raises(BundleError, match="as exported"):
        load(real_bundle, name, state=state)


def test_a_model_outlives_the_memory_it_was_read_into(real_bundle: Path, state: Path) -> None:
    _, wanted = opened(real_bundle, state)
    predictor = load(real_bundle, "openvino", state=state)
    noise = [np.full(1 << 20, 255, np.uint8) for _ in range(64)]  # takes whatever was freed
    assert same(predictor.segment(IMAGE, BOXES), wanted)
    del noise
    predictor.close()
    predictor.close()


def test_inspection_says_of_each_blob_what_the_next_start_will_do(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundle_state(open_bundle(real_bundle), state).blobs == ()
    opened(real_bundle, state)
    found = bundle_state(open_bundle(real_bundle), state)
    assert [(blob.part, blob.reusable, blob.reason) for blob in found.blobs] == [
        ("encoder", True, ""),
        ("decoder", True, ""),
    ]
    flip(blobs(state)["decoder"])
    monkeypatch.setattr(module, "__version__", "9.9")
    first, second = bundle_state(open_bundle(real_bundle), state).blobs
    assert first.reason == "toolkit_version was 0.1.0, is 9.9"
    assert "altered" in second.reason
    assert not first.reusable
    assert not second.reusable


def test_inspection_knows_the_blobs_of_a_bundle_that_was_replaced(
    real_bundle: Path,
    state: Path,
    write_bundle: Callable[..., Path],
    other_graphs: dict[str, bytes],
    tiny_golden: Golden,
) -> None:
    opened(real_bundle, state)
    write_bundle(real_bundle, tiny_golden, graphs=other_graphs)
    for blob in bundle_state(open_bundle(real_bundle), state).blobs:
        assert "which the bundle no longer has" in blob.reason


def test_inspection_of_a_machine_without_the_library_says_so(
    real_bundle: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'openvino'")

    opened(real_bundle, state)
    monkeypatch.setattr("medsam_edge.runtime.stored.blob_key", absent)
    reasons = {blob.reason for blob in bundle_state(open_bundle(real_bundle), state).blobs}
    assert reasons == {"openvino cannot be loaded here (No module named 'openvino')"}
