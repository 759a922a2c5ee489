import pytest
from medsam_edge.calibration import phantoms
from medsam_edge.calibration.modalities import MODALITIES, UNKNOWN, known_modality
from medsam_edge.runtime.errors import CaseError


@pytest.mark.parametrize(
    ("word", "name"),
    [("US", "Ultrasound"), ("XRay", "X-ray"), ("Xray", "X-ray"), ("x ray", "X-ray"), ("mri", "MR"), ("OCTA", "OCTA")],
)
def test_other_words_for_a_modality_are_one(word: str, name: str) -> None:
    assert known_modality(word, "a.npz") == name


@pytest.mark.parametrize("name", [*MODALITIES, *phantoms.MODALITIES, "PET", "Fundus", "Mammography", "OCT", "CT"])
def test_the_names_of_the_challenge_and_of_the_phantoms_are_their_own(name: str) -> None:
    assert known_modality(name, "a.npz") == name


@pytest.mark.parametrize("name", ["", " ", "unknown", "Unknown"])
def test_a_name_that_nobody_gave_is_unknown(name: str) -> None:
    assert known_modality(name, "a.npz") == UNKNOWN


@pytest.mark.parametrize(
    ("wrong", "close"), [("Ultrasond", "Ultrasound"), ("Dermoscopie", "Dermoscopy"), ("MRT", "MR"), ("X-Rays", "X-ray")]
)
def test_a_wrong_name_lists_the_known_ones_and_the_closest(wrong: str, close: str) -> None:
    with pytest.raises(CaseError) as caught:
        known_modality(wrong, "a.npz")
    assert all(name in caught.value.expected for name in MODALITIES)
    assert wrong in caught.value.found
    assert "a.npz" in caught.value.found
    assert f"write {close}," in caught.value.remedy


@pytest.mark.parametrize("wrong", ["Tomfoolery", "--", "磁気"])
def test_a_name_close_to_none_is_refused_without_a_guess(wrong: str) -> None:
    with pytest.raises(CaseError, match="write one of them"):
        known_modality(wrong, "a.npz")
