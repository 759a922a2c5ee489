from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.pipeline import ExportResult
from medsam_edge.export.reference import Reference, reference_for
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.golden import decode_golden, encode_golden
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.profile_steps import masks_from_logits, preprocess
from medsam_edge.runtime.types import Case
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def reference(sam: Sam) -> Reference:
    return Reference(sam, medsam(64))


def test_an_answer_is_the_model_under_the_profile(
    reference: Reference, sam: Sam, phantom_cases: tuple[Case, ...]
) -> None:
    case = phantom_cases[2]  # 80 high, 120 wide
    found = reference.answer(case)
    scale = np.array([64 / 120, 64 / 80, 64 / 120, 64 / 80])
    embedding = sam.encode(torch.from_numpy(preprocess(medsam(64), case.image)))
    logits, iou = sam.decode(embedding, torch.from_numpy((case.boxes * scale).astype(np.float32)))
    np.testing.assert_allclose(found.image_embedding, embedding, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.low_res_logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.iou_predictions, iou, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.masks, masks_from_logits(medsam(64), found.low_res_logits, (80, 120)))


def test_an_answer_can_travel(reference: Reference, phantom_cases: tuple[Case, ...]) -> None:
    found = reference.answer(phantom_cases[0])
    back = decode_golden(encode_golden(found))
    assert (back.id, back.modality) == (phantom_cases[0].id, "CT")
    np.testing.assert_array_equal(back.masks, found.masks)
    np.testing.assert_array_equal(back.reference, phantom_cases[0].masks)


def test_a_case_without_reference_masks_has_an_answer(reference: Reference, phantom_cases: tuple[Case, ...]) -> None:
    assert reference.answer(replace(phantom_cases[0], masks=None)).reference is None


def test_two_answers_to_one_case_are_equal(reference: Reference, phantom_cases: tuple[Case, ...]) -> None:
    first, second = (encode_golden(reference.answer(phantom_cases[1])) for _ in range(2))
    assert first == second


def test_more_boxes_than_a_call_takes_are_answered_in_their_order(reference: Reference, boxes: torch.Tensor) -> None:
    embedding = reference.embed(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    many = boxes.repeat(3, 1).numpy()
    logits, iou = reference.decode(embedding, many, (64, 64))
    single, _ = reference.decode(embedding, many[40:41], (64, 64))
    assert (logits.shape, iou.shape) == ((51, 1, 32, 32), (51, 1))
    np.testing.assert_allclose(logits[40:41], single, rtol=1e-3, atol=1e-4)


def test_the_bundles_own_source_answers_as_its_golden_cases(
    exported: ExportResult, checkpoint: Path, reference: Reference, phantom_cases: tuple[Case, ...]
) -> None:
    again = reference_for(checkpoint, exported.manifest).answer(phantom_cases[0])
    np.testing.assert_array_equal(again.low_res_logits, reference.answer(phantom_cases[0]).low_res_logits)


def test_the_same_weights_in_another_file_are_the_same_source(
    exported: ExportResult, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "copy.safetensors")
    reference_for(tmp_path / "copy.safetensors", exported.manifest)


def test_other_weights_are_refused_with_both_hashes(
    exported: ExportResult, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tensors["image_encoder.pos_embed"] += 1
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=exported.manifest.model.weights_sha256[:16]) as caught:
        reference_for(tmp_path / "other.safetensors", exported.manifest)
    assert "other.safetensors" in caught.value.found
