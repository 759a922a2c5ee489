from collections.abc import Callable

import numpy as np
from medsam_edge.runtime.volumes.levels import slices_of
from medsam_edge.runtime.volumes.montage import BORDER, SIDE, montage
from medsam_edge.runtime.volumes.planes import Slicing
from medsam_edge.runtime.volumes.prompts import Prompt
from medsam_edge.runtime.volumes.volume import Volume

PROMPTS = [Prompt((2.0, 2.0, 20.0, 20.0), 10, 0, 29), Prompt((30.0, 30.0, 40.0, 40.0), 10, 0, 29)]


def drawn(make: Callable[..., Volume], filled: int) -> np.ndarray:
    voxels = np.full((30, 56, 64), 90, np.uint8)
    view = np.zeros_like(voxels)
    view[:filled, 10:20, 10:20] = 1
    view[:filled, 30:40, 30:40] = 2
    return montage(slices_of(make(voxels), Slicing("acquisition")), view, PROMPTS)


def test_up_to_nine_slices_with_labels_are_shown(volume_of: Callable[..., Volume]) -> None:
    for filled, (rows, columns) in ((30, (3, 3)), (4, (2, 2)), (1, (1, 1)), (0, (1, 1))):
        height, width, _ = drawn(volume_of, filled).shape
        assert (height // (SIDE * 56 // 64 + BORDER), width // (SIDE + BORDER)) == (rows, columns)


def test_an_object_has_one_colour_on_all_slices(volume_of: Callable[..., Volume]) -> None:
    found = drawn(volume_of, 30)
    inside = [
        found[tile * (392 + BORDER) + 105, column * (SIDE + BORDER) + 105] for tile in range(3) for column in range(3)
    ]
    assert len({tuple(one.tolist()) for one in inside}) == 1
    assert tuple(inside[0].tolist()) != tuple(found[245, 245].tolist())  # the other object
