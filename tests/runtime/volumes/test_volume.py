from collections.abc import Callable

import numpy as np
import pytest
from medsam_edge.runtime.errors import VolumeError
from medsam_edge.runtime.volumes.volume import MAX_SIDE, Geometry, Volume, check_size, same_place

from .conftest import OBLIQUE


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "ASR", "PIL", "SRA", "IPR"])
def test_orientation_is_nibabels(codes: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    ornt = nibabel.orientations.axcodes2ornt(tuple(codes))
    affine = nibabel.orientations.inv_ornt_aff(ornt, (5, 6, 7))
    turned = np.linalg.inv(affine) @ np.diag([1.5, 2.0, 3.0, 1.0])
    found = Geometry(turned)
    assert found.orientation is None
    assert Geometry(turned, "RAS").orientation == "".join(nibabel.aff2axcodes(turned))


def test_an_oblique_affine_has_its_nearest_orientation_and_its_spacing() -> None:
    found = Geometry(OBLIQUE, "RAS")
    assert found.orientation == "LAS"
    assert found.spacing == pytest.approx(np.sqrt((OBLIQUE[:3, :3] ** 2).sum(axis=0)))


def test_spaces_differ_by_their_signs() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    assert [Geometry(affine, space).orientation for space in ("RAS", "LPS", "LAS")] == ["RAS", "LPS", "LAS"]


def test_axes_at_45_degrees_are_still_three_different_ones() -> None:
    half = np.sqrt(0.5)
    affine = np.array([[half, half, 0, 0], [half, half, 1e-3, 0], [0, 1e-3, 1, 0], [0, 0, 0, 1]])
    axes = Geometry(affine, "RAS").world_axes()
    assert axes is not None
    assert sorted(axis for axis, _ in axes) == [0, 1, 2]


@pytest.mark.parametrize(
    "affine", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.diag([1.0, 1.0, 0.0, 1.0]), np.eye(3)]
)
def test_an_affine_that_is_none_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(VolumeError):
        Geometry(affine)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4), "u1"), ((2, 4, 4, 4), "u1"), ((0, 4, 4), "u1"), ((1, 1, MAX_SIDE + 1), "u1"), ((9000, 9000, 9000), "u1")]
    + [((4, 4, 4), name) for name in ("c8", "U4", "O", "?")],
)
def test_what_is_no_volume_is_refused_by_its_header(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(VolumeError):
        check_size(shape, np.dtype(dtype))


@pytest.mark.parametrize("rescale", [(0.0, 0.0), (np.nan, 0.0), (1.0, np.inf)])
def test_a_rescaling_that_loses_everything_is_refused(
    volume_of: Callable[..., Volume], rescale: tuple[float, float]
) -> None:
    with pytest.raises(VolumeError, match="slope"):
        volume_of(np.zeros((2, 3, 4), np.int16), rescale=rescale)


def test_places_are_compared_across_spaces_at_the_corners() -> None:
    shape = (10, 20, 30)
    one = Geometry(OBLIQUE, "RAS")
    lps = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]) @ OBLIQUE, "LPS")
    tilted, moved = OBLIQUE.copy(), OBLIQUE.copy()
    tilted[0, 0] += 0.02  # 0.02 mm a column are 0.58 mm at the far end
    moved[2, 3] += 0.1
    assert same_place(one, lps, shape)
    assert same_place(one, Geometry(moved, "RAS"), shape)
    assert not same_place(one, Geometry(tilted, "RAS"), shape)
    assert not same_place(one, Geometry(OBLIQUE, "LPS"), shape)
    assert same_place(one, Geometry(np.eye(4)), shape)  # of an .npz nothing is known
