from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.benchmarks.weights import write_weights
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import StorageError, UsageError
from medsam_edge.runtime.manifest import Manifest

torch = pytest.importorskip("torch")
checkpoint = pytest.importorskip("medsam_edge.export.checkpoint")
demo = pytest.importorskip("medsam_edge.export.demo_checkpoint")
random = pytest.importorskip("medsam_edge.export.random_weights")


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return open_bundle(tiny_bundle).manifest


def of(manifest: Manifest, **model: object) -> Manifest:
    return replace(manifest, model=replace(manifest.model, **model))  # type: ignore[arg-type]


def demo_manifest(manifest: Manifest) -> Manifest:
    source = checkpoint.read_checkpoint(demo.demo_checkpoint())
    return of(manifest, source_file=demo.demo_checkpoint().name, weights_sha256=source.weights_sha256)


def written_hash(path: Path) -> str:
    found: str = checkpoint.weights_hash(torch.load(path, weights_only=True))
    return found


@pytest.mark.parametrize("source", [None, "demo"])
def test_the_demos_weights_are_known(manifest: Manifest, tmp_path: Path, source: str | None) -> None:
    wanted = demo_manifest(manifest)
    path = write_weights(tmp_path / "w.pth", source, wanted)
    assert written_hash(path) == wanted.model.weights_sha256


def test_random_weights_are_drawn_again(manifest: Manifest, tmp_path: Path) -> None:
    wanted = random.random_checkpoint("demo").weights_sha256
    drawn = of(manifest, trained=False, source_file="random-demo", weights_sha256=wanted)
    assert written_hash(write_weights(tmp_path / "w.pth", None, drawn)) == wanted


def test_random_weights_of_another_pytorch_are_others(manifest: Manifest, tmp_path: Path) -> None:
    drawn = of(manifest, trained=False, source_file="random-demo")
    with pytest.raises(UsageError, match="export the bundle again"):
        write_weights(tmp_path / "w.pth", None, drawn)


def test_other_weights_have_to_be_named(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'tiny.pth'.*add --source CHECKPOINT"):
        write_weights(tmp_path / "w.pth", None, manifest)


def test_a_checkpoint_that_is_another_one_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the checkpoint that this bundle was exported from"):
        write_weights(tmp_path / "w.pth", "demo", manifest)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_weights(tmp_path / "none" / "w.pth", None, demo_manifest(manifest))
