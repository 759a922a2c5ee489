import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime import bundle as module
from medsam_edge.runtime.bundle import Bundle, open_bundle, open_unhashed, verify_file
from medsam_edge.runtime.errors import BundleError, StorageError
from medsam_edge.runtime.golden import Golden, encode_golden
from medsam_edge.runtime.manifest import (
    SCHEMA,
    FileEntry,
    GraphEntry,
    Manifest,
    Model,
    PartSpec,
    encode,
    file_name,
    seal,
)

RANDOM = np.random.default_rng(3)
GRAPHS = {("encoder", "fp32"): RANDOM.bytes(900), ("encoder", "fp16"): RANDOM.bytes(700)}
GOLDEN = Golden(
    id="ct-1",
    modality="CT",
    image=RANDOM.integers(0, 256, (5, 6, 3), dtype=np.uint8),
    boxes=np.array([[0, 0, 3, 4]], np.float32),
    image_embedding=np.ones((1, 2, 1, 1), np.float32),
    low_res_logits=np.ones((1, 1, 4, 4), np.float32),
    iou_predictions=np.ones((1, 1), np.float32),
    masks=np.ones((1, 5, 6), bool),
)


def place(root: Path, folder: str, data: bytes) -> tuple[str, str, int]:
    sha256 = hashlib.sha256(data).hexdigest()
    path = root / file_name(folder, sha256)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return file_name(folder, sha256), sha256, len(data)


def write(root: Path, golden: bytes | None = None, record: bytes = b'{"mean": 0.5}') -> Path:
    """A bundle written by hand: the reader is tested against the format, not against the writer."""
    root.mkdir()
    graphs = tuple(
        GraphEntry(part, precision, "bias", ("openvino",), *place(root, "graphs", data))
        for (part, precision), data in GRAPHS.items()
    )
    manifest = Manifest(
        schema=SCHEMA,
        toolkit_version="0.1.0",
        created="2030-01-02T03:04:05+00:00",
        model=Model("demo", "tiny_vit", {}, "0" * 64, False, "demo.pth", "0" * 64),
        profile={"name": "litemedsam", "version": 1},
        pipeline=("encoder",),
        embedding_size=64,
        parts=(PartSpec("encoder", (), ()),),
        graphs=graphs,
        golden=(FileEntry("ct-1", *place(root, "golden", golden or encode_golden(GOLDEN))),),
        records=(FileEntry("parity", *place(root, "records", record)),),
        digest="",
    )
    (root / "manifest.json").write_bytes(encode(seal(manifest)))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "my.bundle")


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_whole_bundle_opens_and_is_frozen(root: Path) -> None:
    bundle = open_bundle(root)
    assert bundle.root == root
    with pytest.raises(FrozenInstanceError):
        bundle.root = Path()  # type: ignore[misc]


def test_a_path_may_be_a_string_and_the_folder_itself_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(root)
    assert open_bundle(str(tmp_path / "latest")).manifest == open_bundle(root).manifest


@pytest.mark.parametrize(("part", "precision"), GRAPHS)
def test_a_graph_is_found_by_part_and_precision(root: Path, part: str, precision: str) -> None:
    bundle = open_bundle(root)
    assert (root / bundle.entry(part, precision).file).read_bytes() == GRAPHS[part, precision]


def test_a_graph_that_is_not_there_lists_those_that_are(root: Path) -> None:
    with pytest.raises(BundleError, match=r"encoder in int8; found encoder in fp32 \(bias; openvino\), encoder in"):
        open_bundle(root).entry("encoder", "int8")


def test_a_target_chooses_among_forms_and_the_first_listed_is_the_default(root: Path) -> None:
    bundle = open_bundle(root)
    bias = replace(bundle.manifest.graphs[0], targets=("openvino", "onnxruntime"))
    concat = replace(bundle.manifest.graphs[1], precision="fp32", form="concat", targets=("tensorrt",))
    bundle = Bundle(root, replace(bundle.manifest, graphs=(bias, concat)))
    assert bundle.entry("encoder", "fp32") == bundle.entry("encoder", "fp32", "onnxruntime") == bias
    assert bundle.entry("encoder", "fp32", "tensorrt") == concat
    with pytest.raises(BundleError, match="for coreml"):
        bundle.entry("encoder", "fp32", "coreml")


def test_golden_cases_and_records_are_read(root: Path) -> None:
    bundle = open_bundle(root)
    (golden,) = bundle.golden_cases()
    assert (golden.id, golden.modality, golden.reference) == ("ct-1", "CT", None)
    np.testing.assert_array_equal(golden.image, GOLDEN.image)
    assert bundle.record("parity") == {"mean": 0.5}


def test_a_record_that_is_not_there_lists_those_that_are(root: Path) -> None:
    with pytest.raises(BundleError, match="record of speed; found parity"):
        open_bundle(root).record("speed")


@pytest.mark.parametrize("record", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_record_that_is_no_json_object_is_refused(tmp_path: Path, record: bytes) -> None:
    with pytest.raises(BundleError, match="records/"):
        open_bundle(write(tmp_path / "b", record=record)).record("parity")


def test_a_golden_case_under_another_name_is_refused(tmp_path: Path) -> None:
    other = encode_golden(replace(GOLDEN, id="mr-2"))
    with pytest.raises(BundleError, match=r"golden case 'ct-1'.*found 'mr-2'"):
        open_bundle(write(tmp_path / "b", golden=other)).golden_cases()


def test_what_changes_after_the_opening_is_noticed_when_it_is_read(root: Path) -> None:
    bundle = open_bundle(root)
    for path in (*(root / "golden").iterdir(), *(root / "records").iterdir()):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="altered"):
        bundle.golden_cases()
    with pytest.raises(BundleError, match="altered"):
        bundle.record("parity")


def test_a_file_of_many_chunks_is_hashed_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    bundle = open_bundle(root)
    path = root / bundle.entry("encoder", "fp32").file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="altered"):
        open_bundle(root)


def test_a_flipped_bit_anywhere_is_refused(root: Path) -> None:
    random = np.random.default_rng(11)
    places = [(path, at) for path in files(root) for at in range(path.stat().st_size)]
    for path, at in (places[i] for i in random.choice(len(places), 200, replace=False)):
        data = path.read_bytes()
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            open_bundle(root)
        path.write_bytes(data)
    open_bundle(root)


def test_every_digit_of_the_manifest_counts(root: Path) -> None:
    path = root / "manifest.json"
    data = path.read_bytes()
    for at in [i for i, byte in enumerate(data) if byte in b"0123456789"][::3]:
        path.write_bytes(data[:at] + (b"7" if data[at : at + 1] != b"7" else b"8") + data[at + 1 :])
        with pytest.raises(BundleError):
            open_bundle(root)


def test_every_missing_file_is_named(root: Path) -> None:
    for path in files(root):
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(BundleError, match=path.name):
            open_bundle(root)
        path.write_bytes(data)


@pytest.mark.parametrize("folder", ["graphs", "golden", "records"])
def test_a_missing_folder_is_a_missing_file(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)
    with pytest.raises(BundleError, match=f"the file {folder}/.*export again or copy the bundle again"):
        open_bundle(root)
    (root / folder).write_bytes(b"")
    with pytest.raises(BundleError, match=f"the file {folder}/"):
        open_bundle(root)


@pytest.mark.parametrize("change", [-1, -900, 1, 5000])
def test_a_file_of_another_length_says_both_lengths(root: Path, change: int) -> None:
    path = root / open_bundle(root).entry("encoder", "fp32").file
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(BundleError, match=f"expected 900 bytes in graphs/{path.name}; found {900 + change} bytes"):
        open_bundle(root)


def test_a_link_in_place_of_a_file_is_refused_even_to_the_right_content(root: Path, tmp_path: Path) -> None:
    for path in files(root):
        kept = path.rename(tmp_path / "elsewhere")
        path.symlink_to(kept)
        with pytest.raises(BundleError, match="symbolic link"):
            open_bundle(root)
        path.unlink()
        kept.rename(path)


@pytest.mark.parametrize("folder", ["graphs", "golden", "records"])
def test_a_link_in_place_of_a_folder_is_refused(root: Path, tmp_path: Path, folder: str) -> None:
    (root / folder).rename(tmp_path / "elsewhere")
    (root / folder).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=rf"a folder {folder} inside .* found a symbolic link"):
        open_bundle(root)


def test_a_pipe_or_a_folder_in_place_of_a_file_is_refused_without_waiting(root: Path) -> None:
    path = root / open_bundle(root).entry("encoder", "fp32").file
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleError, match="a plain file graphs/"):
        open_bundle(root)
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match="a plain file graphs/"):
        open_bundle(root)


def test_files_that_are_not_listed_do_no_harm(root: Path) -> None:
    (root / "README.txt").write_text("mine")
    (root / "graphs" / "notes.txt").write_text("mine")
    open_bundle(root)


def test_nothing_an_empty_folder_and_a_strange_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"found nothing at .*name the folder that `medsam-edge export` wrote"):
        open_bundle(tmp_path / "missing")
    with pytest.raises(BundleError, match="found the empty folder"):
        open_bundle(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(BundleError, match=r"found the folder .* with photo\.png"):
        open_bundle(tmp_path)


def test_a_graph_alone_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(BundleError, match=r"found the file .*model\.onnx.*an ONNX graph alone has no profile"):
        open_bundle(path)
    with pytest.raises(BundleError, match="found the file"):
        open_bundle(path.rename(tmp_path / "model.zip"))


def test_a_huge_manifest_is_not_read_to_its_end(root: Path) -> None:
    with open(root / "manifest.json", "r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BundleError, match="at most 4194304 bytes"):
        open_bundle(root)


def test_a_disk_that_fails_is_not_the_bundles_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.read", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        open_bundle(root)


def test_an_unhashed_bundle_reads_its_manifest_and_each_file_can_be_hashed_later(tmp_path: Path) -> None:
    root = write(tmp_path / "b")
    whole, harmed = open_bundle(root).manifest.graphs[:2]
    (root / harmed.file).write_bytes(b"altered")
    assert open_unhashed(root).manifest.graphs == (whole, harmed)
    verify_file(root, whole)
    with pytest.raises(BundleError, match=harmed.file):
        verify_file(root, harmed)
    (root / "manifest.json").write_bytes(b"{}")
    with pytest.raises(BundleError):
        open_unhashed(root)


def test_an_unhashed_bundle_has_no_links_for_folders_either(tmp_path: Path) -> None:
    root = write(tmp_path / "b")
    (root / "graphs").rename(tmp_path / "elsewhere")
    (root / "graphs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="a symbolic link"):
        open_unhashed(root)


def test_a_bundle_knows_whether_its_files_were_hashed(tmp_path: Path, write_bundle: Callable[..., Path]) -> None:
    root = write_bundle(tmp_path / "b", ())
    assert open_bundle(root).hashed
    assert not open_unhashed(root).hashed
