"""Whatever goes wrong during an export, the old bundle is still there, byte for byte."""

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.export import trials
from medsam_edge.export.graphs import Graph
from medsam_edge.export.pipeline import ExportResult
from medsam_edge.export.reference import Reference
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode, ParityError, StorageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.types import Case

Export = Callable[..., ExportResult]


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the graphs on one backend only."""
    monkeypatch.setattr(trials, "available", lambda: ("onnxruntime",))


def no_masks(golden: Golden) -> Golden:
    return replace(golden, masks=~golden.masks)


def other_embedding(golden: Golden) -> Golden:
    return replace(golden, image_embedding=golden.image_embedding[:, ::-1])


@pytest.fixture(params=[no_masks, other_embedding], ids=["masks", "tensor"])
def dishonest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A source that answers something else than its graphs; returns the name of the check that sees it."""
    honest = Reference.answer
    monkeypatch.setattr(Reference, "answer", lambda self, case: request.param(honest(self, case)))
    return "mask: DSC" if request.param is no_masks else "tensor: lowest cosine"


def test_other_masks_than_the_sources_are_not_exported(
    quick_export: Export, checkpoint: Path, tmp_path: Path, phantom_cases: tuple[Case, ...], dishonest: str
) -> None:
    with pytest.raises(ParityError, match=dishonest) as caught:
        quick_export(checkpoint, tmp_path / "new" / "b", phantom_cases)
    assert caught.value.exit_code == ExitCode.PARITY
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("dishonest")
def test_failed_parity_leaves_the_old_bundle_alone(
    quick_export: Export, checkpoint: Path, own_bundle: Path, phantom_cases: tuple[Case, ...]
) -> None:
    before = files(own_bundle)
    with pytest.raises(ParityError):
        quick_export(checkpoint, own_bundle, phantom_cases)
    assert files(own_bundle) == before


@pytest.mark.parametrize("step", ["reading", "exporting", "asking", "comparing"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_an_error_at_any_step_leaves_the_old_bundle_alone(
    quick_export: Export,
    checkpoint: Path,
    own_bundle: Path,
    phantom_cases: tuple[Case, ...],
    step: str,
    error: type[BaseException],
) -> None:
    def fail(told: str) -> None:
        if told.startswith(step):
            raise error

    before = files(own_bundle)
    with pytest.raises(error):
        quick_export(checkpoint, own_bundle, phantom_cases, say=fail)
    assert files(own_bundle) == before


@pytest.mark.parametrize("written", [0, 1, 2, 4, 7, 8], ids="after {} writes".format)
def test_a_full_disk_leaves_the_old_bundle_alone(
    quick_export: Export,
    checkpoint: Path,
    own_bundle: Path,
    phantom_cases: tuple[Case, ...],
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    """Two graphs go to the temporary folder; two graphs, three cases, a record and the manifest to the bundle."""
    real, before, room = os.write, files(own_bundle), iter(range(written))

    def write(descriptor: int, data: bytes) -> int:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "")
        return real(descriptor, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        with pytest.raises(StorageError, match="No space left"):
            quick_export(checkpoint, own_bundle, phantom_cases)
    assert files(own_bundle) == before


KILLED_BEFORE_THE_MANIFEST = """
import os, pickle, runpy, signal, sys
from pathlib import Path
runpy.run_path(sys.argv[1])
from medsam_edge.export import pipeline, trials
from medsam_edge.runtime import store
graphs, cases, checkpoint, out = pickle.loads(Path(sys.argv[2]).read_bytes())
trials.available = lambda: ("onnxruntime",)
pipeline.export_graphs = lambda *_: graphs
honest = store.write_atomic
def write_atomic(path, data):
    if path.name == "manifest.json":
        os.kill(os.getpid(), signal.SIGKILL)
    honest(path, data)
store.write_atomic = write_atomic
pipeline.export_bundle(checkpoint, out, cases)
"""


def test_sigkill_before_the_commit_leaves_the_old_bundle_and_no_obstacle(
    quick_export: Export,
    checkpoint: Path,
    own_bundle: Path,
    tmp_path: Path,
    phantom_cases: tuple[Case, ...],
    plain_graphs: tuple[Graph, Graph],
) -> None:
    old = open_bundle(own_bundle).manifest
    (tmp_path / "task").write_bytes(pickle.dumps((plain_graphs, phantom_cases, checkpoint, own_bundle)))
    conftest = Path(__file__).parents[1] / "conftest.py"
    done = subprocess.run([sys.executable, "-c", KILLED_BEFORE_THE_MANIFEST, conftest, tmp_path / "task"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert open_bundle(own_bundle).manifest == old
    new = quick_export(checkpoint, own_bundle, phantom_cases).manifest
    assert set(files(own_bundle)) == new.files() | {"manifest.json"}
