import itertools

import numpy as np
import pytest
from medsam_edge.runtime.errors import UsageError, VolumeError
from medsam_edge.runtime.volumes.planes import SLICINGS, slicing_named
from medsam_edge.runtime.volumes.volume import Geometry

from .conftest import OBLIQUE

SHAPE = (4, 5, 6)  # D, H, W
# World direction (right, anterior, superior) of one step to the next row and to the next column, as radiologists look.
LOOK = {
    "axial": ((0, -1, 0), (-1, 0, 0)),
    "coronal": ((0, 0, -1), (-1, 0, 0)),
    "sagittal": ((0, 0, -1), (0, -1, 0)),
}
SIGNED = [
    np.diag([*signs, 1])[[*order, 3]].astype(float)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def places(geometry: Geometry) -> np.ndarray:
    """Of every voxel, `(D, H, W, 3)`."""
    k, j, i = np.indices(SHAPE)
    ras = geometry.ras
    assert ras is not None
    found: np.ndarray = (np.stack([i, j, k, np.ones(SHAPE)], axis=-1) @ ras.T)[..., :3]
    return found


@pytest.mark.parametrize("name", LOOK)
@pytest.mark.parametrize("affine", SIGNED, ids=lambda one: str(one[:3, :3].astype(int).tolist()))
def test_anatomical_slices_lie_as_radiologists_look_at_them(affine: np.ndarray, name: str) -> None:
    geometry = Geometry(affine, "RAS")
    slicing = slicing_named(name, geometry)
    where = np.stack([slicing.view(places(geometry)[..., axis]) for axis in range(3)], axis=-1)
    rows, columns = where[0, 1, 0] - where[0, 0, 0], where[0, 0, 1] - where[0, 0, 0]
    assert (tuple(rows), tuple(columns)) == LOOK[name]


@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_oblique_volumes_take_the_nearest_plane(space: str) -> None:
    geometry = Geometry(np.diag([-1, -1, 1, 1]) @ OBLIQUE if space == "LPS" else OBLIQUE, space)
    slicing = slicing_named("axial", geometry)
    assert (slicing.axes, slicing.flips) == ((0, 1, 2), (False, True, False))  # columns run to the left already
    assert slicing_named("sagittal", geometry).axes == (2, 0, 1)


def test_acquisition_changes_nothing_and_needs_no_orientation() -> None:
    voxels = np.arange(120).reshape(SHAPE)
    view = slicing_named("acquisition", Geometry(np.eye(4))).view(voxels)
    np.testing.assert_array_equal(view, voxels)
    with pytest.raises(VolumeError, match="orientation"):
        slicing_named("axial", Geometry(np.eye(4)))
    with pytest.raises(UsageError, match="acquisition"):
        slicing_named("oblique", Geometry(np.eye(4)))


@pytest.mark.parametrize("name", SLICINGS)
@pytest.mark.parametrize("affine", SIGNED[::5])
def test_a_box_goes_into_the_view_and_back_with_its_voxels(affine: np.ndarray, name: str) -> None:
    slicing = slicing_named(name, Geometry(affine, "RAS"))
    low, high = np.array([1, 2, 0]), np.array([2, 2, 4])
    stored = np.zeros(SHAPE, bool)
    stored[1:3, 2:3, 0:5] = True
    inside = np.argwhere(slicing.view(stored))
    found = slicing.box_in_view(low, high, SHAPE)
    assert (found[0].tolist(), found[1].tolist()) == (inside.min(axis=0).tolist(), inside.max(axis=0).tolist())
    back = slicing.box_in_file(*found, SHAPE)
    assert (back[0].tolist(), back[1].tolist()) == (low.tolist(), high.tolist())


def test_what_is_written_to_the_view_is_written_to_the_volume() -> None:
    stored = np.zeros(SHAPE, np.uint8)
    slicing = slicing_named("coronal", Geometry(np.eye(4), "RAS"))
    slicing.view(stored)[3, 0, 1] = 9
    assert stored[3, 3, 4] == 9
