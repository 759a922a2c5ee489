from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.errors import VolumeError
from medsam_edge.runtime.volumes.reading import (
    check_labels,
    is_volume,
    modality_of,
    read_label_volume,
    read_volume,
    stem_of,
)
from medsam_edge.runtime.volumes.volume import Volume

LABELS = np.zeros((3, 4, 5))
LABELS[1, 2, 3] = 7


@pytest.mark.parametrize(
    ("name", "volume", "stem"),
    [
        ("a.nii", True, "a"),
        ("a.b.nii.gz", True, "a.b"),
        ("A.NII.GZ", True, "A"),
        ("a.nrrd", True, "a"),
        ("3Dx.npz", True, "3Dx"),
        ("a.png", False, "a"),
        ("a.gz", False, "a"),
    ],
)
def test_a_volume_is_told_by_its_ending(name: str, volume: bool, stem: str) -> None:
    assert (is_volume(Path(name)), stem_of(Path(name))) == (volume, stem)


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("3D_CT_totalseg.nii.gz", "CT"),
        ("3DBox_MR_1.npz", "MR"),
        ("brain-MRI.nrrd", "MR"),
        ("x.PET.nii", "PET"),
        ("PET_CT.nii", "unknown"),
        ("CTA.nii", "unknown"),
        ("doctor.nii", "unknown"),
        ("CT_CT.nii", "CT"),
    ],
)
def test_the_modality_is_a_word_of_the_name(name: str, modality: str) -> None:
    assert modality_of(Path(name)) == modality


def test_the_reader_is_chosen_by_the_ending_and_the_modality_may_be_given(save_nifti: Callable[..., Path]) -> None:
    path = save_nifti("a_CT.nii.gz", LABELS.astype(np.uint8))
    assert (read_volume(path).modality, read_volume(path, "MR").modality) == ("CT", "MR")
    with pytest.raises(VolumeError, match=r"\.nii"):
        read_volume(path.with_name("a.mha"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_labels_may_be_whole_floats(save_nifti: Callable[..., Path], dtype: type) -> None:
    found = read_label_volume(save_nifti("a.nii.gz", LABELS.astype(dtype)))
    np.testing.assert_array_equal(found.voxels, LABELS)


@pytest.mark.parametrize("value", [0.5, -1, np.nan, np.inf, 1e12])
def test_other_values_are_no_labels(volume_of: Callable[..., Volume], value: float) -> None:
    voxels = LABELS.copy()
    voxels[2, 0, 0] = value
    with pytest.raises(VolumeError, match="slice 2"):
        check_labels(volume_of(voxels))


def test_rescaled_labels_are_refused(volume_of: Callable[..., Volume]) -> None:
    with pytest.raises(VolumeError, match="as they are stored"):
        check_labels(volume_of(LABELS.astype(np.uint8), rescale=(2.0, 0.0)))
