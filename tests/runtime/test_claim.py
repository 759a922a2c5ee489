import os
from pathlib import Path

import pytest
from medsam_edge.runtime import claim
from medsam_edge.runtime.errors import StorageError, UsageError
from medsam_edge.runtime.store import BundleWriter


def bundle(path: Path) -> None:
    """What a writer takes for a bundle, with a manifest that was cut short."""
    for folder in ("graphs", "golden", "records"):
        (path / folder).mkdir(parents=True)
    (path / "manifest.json").write_text('{"schema": "medsam-edge/bundle/1"')


def names(path: Path) -> set[str]:
    return {str(each.relative_to(path)) for each in path.rglob("*") if not each.is_dir()}


@pytest.mark.parametrize(
    "name", ["notes.txt", "graphs/notes.txt", "graphs/model.onnx", "records/" + "0" * 64, "graphs"]
)
def test_a_folder_with_other_peoples_files_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="an empty folder or an existing bundle"), BundleWriter(tmp_path):
        pass
    assert names(tmp_path) == {name}


@pytest.mark.parametrize("content", ['{"name": "my web app"}', ""])
def test_the_manifest_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match="of something else"), BundleWriter(tmp_path):
        pass
    assert (tmp_path / "manifest.json").read_text() == content
    assert names(tmp_path) == {"manifest.json"}


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"mine")
    with (
        pytest.raises(UsageError, match=r"found the file .*model\.onnx"),
        BundleWriter(tmp_path / "model.onnx"),
    ):
        pass
    with pytest.raises(StorageError), BundleWriter(tmp_path / "model.onnx" / "b"):
        pass
    assert (tmp_path / "model.onnx").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["graphs", "golden", "records", "manifest.json"])
def test_links_inside_are_refused(tmp_path: Path, name: str) -> None:
    bundle(tmp_path / "b")
    (tmp_path / "b" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "b" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError), BundleWriter(tmp_path / "b"):
        pass


def test_a_lock_file_that_its_holder_removes_meanwhile_guards_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    take = claim._take

    def late(descriptor: int, folder: Path) -> bool:
        if not taken:  # the holder leaves between our opening the file and our locking it
            (folder / ".lock").unlink()
        taken.append(take(descriptor, folder))
        return taken[-1]

    monkeypatch.setattr(claim, "_take", late)
    os.close(claim.lock(tmp_path))
    assert taken == [False, True]
