"""Checkpoint in, bundle out, or one line that says why not."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.export import pipeline, trials
from medsam_edge.export.checkpoint import Checkpoint
from medsam_edge.export.models.config import SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.pipeline import ExportResult, stated_profile
from medsam_edge.export.reference import Reference
from medsam_edge.runtime.backends import choose
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import MissingExtraError, UsageError
from medsam_edge.runtime.loading import load
from medsam_edge.runtime.metrics import dice
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import Case
from safetensors.torch import save_file

Export = Callable[..., ExportResult]


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def one_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the graphs on one backend only, where the test is not about them."""
    monkeypatch.setattr(trials, "available", lambda: ("onnxruntime",))


def test_the_bundle_opens_and_holds_what_the_result_says(exported: ExportResult) -> None:
    assert open_bundle(exported.bundle).manifest == exported.manifest
    assert exported.seconds > 0
    assert exported.peak_mib is None or exported.peak_mib > 50


def test_the_manifest_names_the_source_and_its_contract(exported: ExportResult, checkpoint: Path, sam: Sam) -> None:
    manifest, source = exported.manifest, pipeline.read_checkpoint(checkpoint)
    assert (manifest.model.name, manifest.model.source_file) == ("tiny", "tiny.safetensors")
    assert manifest.model.weights_sha256 == source.weights_sha256
    assert manifest.model.source_sha256 == source.sha256
    assert SamConfig(**{**manifest.model.config, "global_blocks": (1,)}) == sam.config  # type: ignore[arg-type]
    assert manifest.profile == medsam(64).to_dict()
    assert (manifest.pipeline, manifest.embedding_size) == (("encoder", "decoder"), 8)


def test_the_golden_cases_are_the_sources_answers(
    exported: ExportResult, phantom_cases: tuple[Case, ...], sam: Sam
) -> None:
    golden = open_bundle(exported.bundle).golden_cases()
    assert [case.id for case in golden] == [case.id for case in phantom_cases]
    for found, case in zip(golden, phantom_cases, strict=True):
        expected = Reference(sam, medsam(64)).answer(case)
        np.testing.assert_array_equal(found.low_res_logits, expected.low_res_logits)
        np.testing.assert_array_equal(found.masks, expected.masks)


def test_the_golden_masks_could_show_a_difference(exported: ExportResult) -> None:
    masks = [mask for case in open_bundle(exported.bundle).golden_cases() for mask in case.masks]
    assert sum(0.02 < mask.mean() < 0.98 for mask in masks) > len(masks) / 2


def test_the_record_tells_every_check_of_every_backend(exported: ExportResult) -> None:
    record = open_bundle(exported.bundle).record("export")
    backends = record["backends"]
    assert isinstance(backends, dict)
    assert set(backends) == set(choose.available()) == set(exported.parity)
    for name, told in backends.items():
        assert told["checks"] == [asdict(check) for check in exported.parity[name]]
        assert all(check["passed"] for check in told["checks"])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_runtime_draws_the_sources_masks_from_the_bundle(exported: ExportResult, backend: str) -> None:
    pytest.importorskip(backend)
    case = open_bundle(exported.bundle).golden_cases()[2]
    with load(exported.bundle, backend, threads=1) as predictor:
        masks = predictor.segment(case.image, case.boxes).masks
    assert min(dice(ours, theirs) for ours, theirs in zip(masks, case.masks, strict=True)) > 0.99


@pytest.mark.usefixtures("one_backend")
def test_every_step_is_told(
    quick_export: Export, checkpoint: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    told: list[str] = []
    quick_export(checkpoint, tmp_path / "b", phantom_cases, say=told.append)
    assert told == [
        "reading tiny.safetensors",
        "exporting to ONNX",
        "asking the source checkpoint about 3 golden cases",
        "comparing onnxruntime with the source",
    ]


@pytest.mark.usefixtures("one_backend")
def test_what_stands_beside_the_model_is_told(
    quick_export: Export, tensors: dict[str, torch.Tensor], tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    told: list[str] = []
    wrapped = {f"model.{name}": tensor for name, tensor in tensors.items()}
    save_file({**wrapped, "loss.weight": torch.ones(1)}, tmp_path / "x.safetensors", metadata={"profile": "medsam"})
    quick_export(tmp_path / "x.safetensors", tmp_path / "b", phantom_cases, say=told.append)
    assert told[1] == "left out 1 of the file's tensors, beside the model: loss.weight"


@pytest.mark.usefixtures("one_backend")
def test_a_new_export_replaces_the_old_bundle_and_leaves_nothing_of_it(
    quick_export: Export, checkpoint: Path, own_bundle: Path, phantom_cases: tuple[Case, ...]
) -> None:
    result = quick_export(checkpoint, own_bundle, phantom_cases)
    assert set(files(own_bundle)) == result.manifest.files() | {"manifest.json"}


def test_sams_own_file_is_known_by_its_hash(tensors: dict[str, torch.Tensor]) -> None:
    source = Checkpoint(Path("sam_vit_b.pth"), "01ec64" + 58 * "0", "", tensors)
    with pytest.raises(UsageError, match="SAM ViT-B as published: --profile medsam-hf-wanglab"):
        stated_profile(source, None)
    assert stated_profile(source, "medsam") == "medsam"


def refused(kind: type[Exception], run: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        run()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def silent(tmp_path: Path, sam: Sam) -> Path:
    """A checkpoint that does not say which profile it wants."""
    save_file(sam.state_dict(), tmp_path / "silent.safetensors")
    return tmp_path / "silent.safetensors"


def test_a_profile_that_nobody_states_is_not_guessed(
    quick_export: Export, silent: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    message = refused(UsageError, lambda: quick_export(silent, tmp_path / "b", phantom_cases))
    assert "silent.safetensors" in message
    assert "--profile medsam" in message
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("one_backend")
def test_the_persons_profile_is_taken(
    quick_export: Export, silent: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    assert quick_export(silent, tmp_path / "b", phantom_cases, "medsam").manifest.profile["name"] == "medsam"


def test_the_persons_word_goes_before_the_files_own(checkpoint: Path) -> None:
    source = pipeline.read_checkpoint(checkpoint)
    assert pipeline.stated_profile(source, "another") == "another"
    assert pipeline.stated_profile(source, None) == "medsam"


def test_an_unknown_profile_is_refused_with_the_known_ones(
    quick_export: Export, silent: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    message = refused(UsageError, lambda: quick_export(silent, tmp_path / "b", phantom_cases, "sam"))
    assert "'sam'" in message
    assert "medsam" in message


def test_one_golden_case_is_too_few(
    quick_export: Export, checkpoint: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    refused(UsageError, lambda: quick_export(checkpoint, tmp_path / "b", phantom_cases[:1]))


def test_without_a_backend_nothing_is_begun(
    quick_export: Export, tmp_path: Path, phantom_cases: tuple[Case, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "available", lambda: ())
    told: list[str] = []
    export = lambda: quick_export(tmp_path / "absent.pth", tmp_path / "b", phantom_cases, say=told.append)  # noqa: E731
    assert "medsam-edge[ort]" in refused(MissingExtraError, export)
    assert told == []
    assert not (tmp_path / "b").exists()


def test_a_file_in_the_place_of_the_bundle_stays(
    quick_export: Export, checkpoint: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    (tmp_path / "b").write_text("precious")
    refused(UsageError, lambda: quick_export(checkpoint, tmp_path / "b", phantom_cases))
    assert (tmp_path / "b").read_text() == "precious"


def test_a_folder_of_other_things_stays(
    quick_export: Export, checkpoint: Path, tmp_path: Path, phantom_cases: tuple[Case, ...]
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert "thesis.tex" in refused(UsageError, lambda: quick_export(checkpoint, tmp_path, phantom_cases))
    assert files(tmp_path) == {"thesis.tex": b"precious"}
