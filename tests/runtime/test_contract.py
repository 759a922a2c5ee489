from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.contract import MAX_IMAGE_SIZE, check_contract, decoder_part, encoder_part
from medsam_edge.runtime.errors import BundleError
from medsam_edge.runtime.manifest import Manifest, PartSpec, TensorSpec
from medsam_edge.runtime.profile import medsam, medsam_hf_flaviagiammarino, medsam_hf_wanglab


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return open_bundle(tiny_bundle).manifest


def test_the_parts_of_a_sound_manifest_come_back(manifest: Manifest) -> None:
    assert check_contract(manifest, medsam(64)) == {part.name: part for part in manifest.parts}


def test_medsams_own_sizes() -> None:
    assert encoder_part(1024, 64).inputs == (TensorSpec("image", "uint8", (1, 3, 1024, 1024)),)
    assert decoder_part(64).outputs[0] == TensorSpec("low_res_logits", "float32", ("N", 1, 256, 256))


def test_a_profile_that_pads_last_wants_a_second_input(manifest: Manifest) -> None:
    padded = encoder_part(64, 8, valid_hw=True)
    assert padded.inputs[1] == TensorSpec("valid_hw", "int32", (2,))
    parts = (padded, manifest.parts[1])
    assert check_contract(replace(manifest, parts=parts), medsam_hf_wanglab(64))["encoder"] == padded
    assert check_contract(manifest, medsam_hf_flaviagiammarino(64))["encoder"] == manifest.parts[0]


@pytest.mark.parametrize("takes", [True, False])
def test_an_encoder_that_does_not_fit_its_profile_is_refused(manifest: Manifest, takes: bool) -> None:
    parts = (encoder_part(64, 8, valid_hw=not takes), manifest.parts[1])
    with pytest.raises(BundleError, match="valid_hw int32"):
        check_contract(replace(manifest, parts=parts), medsam_hf_wanglab(64) if takes else medsam(64))


def renamed(part: PartSpec) -> PartSpec:
    return replace(part, outputs=(replace(part.outputs[0], name="other"), *part.outputs[1:]))


@pytest.mark.parametrize("place", [0, 1])
def test_a_tensor_of_another_name_is_refused(manifest: Manifest, place: int) -> None:
    parts = [renamed(part) if index == place else part for index, part in enumerate(manifest.parts)]
    with pytest.raises(BundleError, match="other"):
        check_contract(replace(manifest, parts=tuple(parts)), medsam(64))


def test_a_profile_of_another_size_is_refused(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match=r"\[1, 3, 128, 128\].*found.*\[1, 3, 64, 64\]"):
        check_contract(manifest, medsam(128))


def test_an_embedding_of_another_size_is_refused(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match="encoder"):
        check_contract(replace(manifest, embedding_size=16), medsam(64))


def test_another_width_is_fine_where_both_parts_agree_on_it(manifest: Manifest) -> None:
    narrow = (encoder_part(64, 8, 64), decoder_part(8, 64))
    assert check_contract(replace(manifest, parts=narrow), medsam(64)) == {part.name: part for part in narrow}
    with pytest.raises(BundleError, match="the decoder as"):
        check_contract(replace(manifest, parts=(narrow[0], decoder_part(8))), medsam(64))


def test_a_size_that_would_exhaust_the_memory_is_refused(manifest: Manifest) -> None:
    large = MAX_IMAGE_SIZE + 1
    parts = (encoder_part(large, manifest.embedding_size), decoder_part(manifest.embedding_size))
    with pytest.raises(BundleError, match="image_size"):
        check_contract(replace(manifest, parts=parts), medsam(large))
