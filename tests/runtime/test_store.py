from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, StorageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.manifest import Manifest, Model, PartSpec
from medsam_edge.runtime.store import BundleWriter


def graph(name: str) -> bytes:
    return name.encode() * 50


def golden(name: str) -> Golden:
    return Golden(
        id=name,
        modality="CT",
        image=np.full((4, 4, 3), len(name), np.uint8),
        boxes=np.ones((1, 4), np.float32),
        image_embedding=np.ones((1, 1, 1, 1), np.float32),
        low_res_logits=np.ones((1, 1, 4, 4), np.float32),
        iou_predictions=np.ones((1, 1), np.float32),
        masks=np.ones((1, 4, 4), bool),
    )


def add(writer: BundleWriter, name: str) -> None:
    writer.add_graph(graph(name), part="encoder", precision="fp32", form="bias", targets=("openvino",))
    writer.add_golden(golden(name))
    writer.add_record("parity", {"of": name})


def commit(writer: BundleWriter, name: str) -> Manifest:
    return writer.commit(
        model=Model(name, "tiny_vit", {}, "0" * 64, True, "demo.pth", "0" * 64),
        profile={"name": "litemedsam", "mean": (0.5, 1)},
        pipeline=("encoder",),
        parts=(PartSpec("encoder", (), ()),),
        embedding_size=64,
    )


def export(path: Path, name: str) -> Manifest:
    with BundleWriter(path) as writer:
        add(writer, name)
        return commit(writer, name)


def names(path: Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir()}


def graph_file(bundle: Bundle) -> Path:
    return bundle.root / bundle.entry("encoder", "fp32").file


def held(path: Path) -> str:
    """Which bundle the folder holds, every file of it checked."""
    bundle = open_bundle(path)
    name = bundle.manifest.model.name
    assert graph_file(bundle).read_bytes() == graph(name)
    assert [case.id for case in bundle.golden_cases()] == [name]
    assert bundle.record("parity") == {"of": name}
    return name


def assert_tidy(path: Path) -> None:
    assert names(path) == open_bundle(path).manifest.files() | {"manifest.json"}


def test_what_is_committed_is_what_is_read(tmp_path: Path) -> None:
    manifest = export(tmp_path / "deep" / "my.bundle", "old")
    assert open_bundle(tmp_path / "deep" / "my.bundle").manifest == manifest
    assert held(tmp_path / "deep" / "my.bundle") == "old"
    assert_tidy(tmp_path / "deep" / "my.bundle")


def test_the_same_content_gives_the_same_bundle(tmp_path: Path) -> None:
    def written(path: Path) -> dict[str, bytes]:
        with BundleWriter(path) as writer:
            add(writer, "same")
            writer.commit(
                model=Model("same", "tiny_vit", {}, "0" * 64, True, "demo.pth", "0" * 64),
                profile={},
                pipeline=(),
                parts=(PartSpec("encoder", (), ()),),
                embedding_size=64,
                created="2030-01-01T00:00:00+00:00",
            )
        return {name: (path / name).read_bytes() for name in names(path)}

    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_a_new_commit_replaces_the_bundle_and_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    export(tmp_path, "old")
    export(tmp_path, "new")
    assert held(tmp_path) == "new"
    assert_tidy(tmp_path)


def test_a_bundle_is_extended_with_its_own_files_and_they_are_not_written_again(tmp_path: Path) -> None:
    export(tmp_path, "old")
    old = open_bundle(tmp_path)
    path = graph_file(old)
    before = path.stat()
    with BundleWriter(tmp_path) as writer:
        add(writer, "old")
        writer.add_graph(path, part="encoder", precision="fp32", form="concat", targets=())
        writer.add_graph(graph("half"), part="encoder", precision="fp16", form="bias", targets=())
        commit(writer, "old")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [entry.precision for entry in open_bundle(tmp_path).manifest.graphs] == ["fp32", "fp32", "fp16"]
    assert_tidy(tmp_path)


def test_a_damaged_file_of_the_old_bundle_is_written_anew(tmp_path: Path) -> None:
    export(tmp_path, "old")
    path = graph_file(open_bundle(tmp_path))
    path.write_bytes(b"?" * path.stat().st_size)
    export(tmp_path, "old")
    assert held(tmp_path) == "old"


def test_a_link_in_place_of_a_file_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    export(tmp_path / "b", "old")
    path = graph_file(open_bundle(tmp_path / "b"))
    (tmp_path / "mine").write_bytes(b"mine")
    path.unlink()
    path.symlink_to(tmp_path / "mine")
    export(tmp_path / "b", "old")
    assert held(tmp_path / "b") == "old"
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_two_commits_of_one_writer_are_two_bundles(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        add(writer, "one")
        commit(writer, "one")
        assert held(tmp_path / "b") == "one"
        writer.add_record("parity", {})
        with pytest.raises(BundleError, match="each record once"):
            commit(writer, "two")
    assert held(tmp_path / "b") == "one"
    assert_tidy(tmp_path / "b")


def test_without_a_commit_the_old_bundle_stays(tmp_path: Path) -> None:
    export(tmp_path, "old")
    with BundleWriter(tmp_path) as writer:
        add(writer, "new")
    assert held(tmp_path) == "old"
    assert_tidy(tmp_path)


def test_an_error_takes_back_the_files_and_the_folders_that_were_made(tmp_path: Path) -> None:
    def interrupted() -> None:
        with BundleWriter(tmp_path / "a" / "b") as writer:
            add(writer, "new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays_empty(tmp_path: Path) -> None:
    with BundleWriter(tmp_path) as writer:
        writer.add_golden(golden("new"))
        with pytest.raises(BundleError, match="a record of parity"):
            writer.add_record("parity", {"mean": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_manifest_that_nobody_could_read_is_not_committed(tmp_path: Path) -> None:
    export(tmp_path, "old")
    with BundleWriter(tmp_path) as writer:
        add(writer, "new")
        writer.add_golden(golden("new"))
        with pytest.raises(BundleError, match="each golden case once"):
            commit(writer, "new")
    assert held(tmp_path) == "old"
    assert_tidy(tmp_path)


def test_a_writer_works_inside_its_with_statement_only(tmp_path: Path) -> None:
    writer = BundleWriter(tmp_path)
    for act in (lambda: writer.add_record("parity", {}), lambda: commit(writer, "new")):
        with pytest.raises(RuntimeError, match="with"):
            act()
    with pytest.raises(StorageError), writer:
        writer.add_graph(tmp_path / "missing.onnx", part="encoder", precision="fp32", form="bias", targets=())


def test_other_peoples_files_inside_a_bundle_are_left_alone(tmp_path: Path) -> None:
    export(tmp_path, "old")
    mine = {"notes.txt", "graphs/model.onnx", "graphs/" + "0" * 64 + ".npz", ".hidden.tmp"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    export(tmp_path, "new")
    assert names(tmp_path) == open_bundle(tmp_path).manifest.files() | {"manifest.json"} | mine


def test_a_second_writer_is_turned_away_and_the_first_goes_on(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as first:
        add(first, "first")
        with (
            pytest.raises(StorageError, match="another process that is writing"),
            BundleWriter(tmp_path / "b"),
        ):
            pass
        commit(first, "first")
    assert held(tmp_path / "b") == "first"
    export(tmp_path / "b", "second")
    assert held(tmp_path / "b") == "second"


def test_a_damaged_manifest_is_exported_over(tmp_path: Path) -> None:
    export(tmp_path, "old")
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes()[:200])
    export(tmp_path, "new")
    assert held(tmp_path) == "new"
    assert_tidy(tmp_path)
