"""The authors' way against ours: the same masks, by other libraries."""

from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.metrics import dice
from medsam_edge.runtime.profile import Profile, litemedsam, litemedsam_slicer, medsam
from medsam_edge.runtime.profile_steps import boxes_to_encoder, masks_from_logits, preprocess
from medsam_edge.runtime.types import AnyArray, Case, Image

torch = pytest.importorskip("torch")
for name in ("skimage", "cv2"):
    pytest.importorskip(name)
upstream = pytest.importorskip("medsam_edge.benchmarks.worker.upstream")
steps = pytest.importorskip("medsam_edge.benchmarks.worker.upstream_steps")
reference = pytest.importorskip("medsam_edge.export.reference")
random_weights = pytest.importorskip("medsam_edge.export.random_weights")
architecture = pytest.importorskip("medsam_edge.export.architecture")

PROFILES = [medsam(256), litemedsam(256), litemedsam_slicer(256)]


def normalised(pixels: AnyArray) -> AnyArray:
    low, high = pixels.min(), pixels.max()
    scaled: AnyArray = (pixels.astype(np.float64) - low) / (high - low)
    return scaled


def prepared(profile: Profile, image: Image) -> AnyArray:
    found = steps.prepare(steps.script_for(profile.name).resize(image, profile.image_size), profile.image_size)
    assert (tuple(found.shape), found.dtype) == ((1, 3, profile.image_size, profile.image_size), torch.float32)
    array: AnyArray = found.numpy()
    return array


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_images_are_prepared_alike(profile: Profile, tiny_cases: tuple[Case, ...]) -> None:
    for case in tiny_cases:
        error = np.abs(prepared(profile, case.image) - normalised(preprocess(profile, case.image)))
        assert error.max() < 3 / 255
        if profile.name != "litemedsam-slicer":  # its script has floats where ours has uint8
            assert (error < 1e-6).mean() > 0.99


@pytest.mark.parametrize(("profile", "middle"), [(medsam(8), (12 - 10) / (20 - 10)), (litemedsam_slicer(8), 42 / 212)])
def test_the_plug_in_stretches_grey_levels_before_it_cuts_them_to_bytes(profile: Profile, middle: float) -> None:
    image = np.full((8, 8, 3), 12, np.uint8)
    image[:2], image[6:] = 10, 20  # of 9 to 21: 21.25, 63.75 and 233.75 of 255
    found = prepared(profile, image)
    np.testing.assert_allclose(found[0, :, (0, 4, 7), 3], np.repeat([[0, middle, 1]], 3, axis=0).T, atol=1e-6)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_boxes_and_masks_are_ours(profile: Profile) -> None:
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.uniform(0, 60, (20, 2, 2)), axis=1).reshape(20, 4).astype(np.float32)
    logits = rng.normal(0, 4, (3, 1, 64, 64)).astype(np.float32)
    script = steps.script_for(profile.name)
    found = script.boxes(boxes, (61, 97), profile.image_size).numpy()
    np.testing.assert_allclose(found, boxes_to_encoder(profile, boxes, (61, 97)))
    drawn = script.draw(torch.from_numpy(logits), (61, 97))
    assert drawn.dtype == bool
    assert (drawn == masks_from_logits(profile, logits, (61, 97))).mean() > 0.9999


@pytest.mark.parametrize("name", ["demo", pytest.param("litemedsam", marks=pytest.mark.slow)])
def test_the_same_weights_draw_the_same_masks(name: str, tmp_path: Path, tiny_cases: tuple[Case, ...]) -> None:
    tensors = random_weights.random_checkpoint(name).tensors
    profile = medsam(256) if name == "demo" else litemedsam(256)
    torch.save(tensors, tmp_path / "w.pth")
    subject = upstream.Upstream(tmp_path / "w.pth", profile)
    ours = reference.Reference(architecture.model_of(tensors), profile)
    for case in tiny_cases:
        masks, timings = subject.segment(case.image, case.boxes)
        wanted = ours.answer(case).masks
        assert min(dice(one, other) for one, other in zip(masks, wanted, strict=True)) > 0.999
        assert min(timings.preprocess_ms, timings.encode_ms, timings.decode_ms, timings.postprocess_ms) > 0
    again, timings = subject.again(np.resize(case.boxes, (33, 4)))
    assert (timings.preprocess_ms, timings.encode_ms) == (0, 0)
    assert len(again) == 33
    assert dice(again[0], masks[0]) > 0.999
    assert subject.served_by.backend == "torch"


def test_a_profile_without_a_script_is_refused() -> None:
    with pytest.raises(UsageError, match="medsam-hf-wanglab"):
        steps.script_for("medsam-hf-wanglab")
