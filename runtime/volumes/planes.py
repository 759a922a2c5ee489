"""Which of a volume's three axes is sliced, and how a slice lies before the model. No voxel is copied for it.

    acquisition    as the file has it: slices along k, rows along j, columns along i, as pre_CT_MR.py and the challenge
    axial, coronal, sagittal    the nearest such plane by the affine, turned as radiologists look at it:
                   columns run to the patient's left (sagittal: to posterior), rows to posterior (axial) or to inferior

Slices keep the order that they have in the file. Nothing is interpolated: oblique volumes give oblique slices.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError, VolumeError
from ..types import AnyArray
from .volume import Geometry

ACQUISITION = "acquisition"
# For slices, rows and columns: the world axis (0 right-left, 1 anterior-posterior, 2 superior-inferior), and whether it
# is to run to right, anterior or superior. The direction of slices is the file's.
_WANTED = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
SLICINGS = (ACQUISITION, *_WANTED)


@dataclass(frozen=True)
class Slicing:
    """How `(D, H, W)` as stored becomes (slices, rows, columns) as the model sees them.

    Attributes:
        name: Of `SLICINGS`.
        axes: The stored axis that is sliced, that of the rows, that of the columns.
        flips: Whether each runs against its stored order. Slices never do.
    """

    name: str
    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def view(self, stored: AnyArray) -> AnyArray:
        """Look at a stored array as slices; what is written to the view is written to the array."""
        flipped = tuple(slice(None, None, -1 if flip else None) for flip in self.flips)
        view: AnyArray = stored.transpose(self.axes)[flipped]
        return view

    def box_in_view(self, low: AnyArray, high: AnyArray, shape: tuple[int, int, int]) -> tuple[AnyArray, AnyArray]:
        """Carry the inclusive corners of a box over.

        Args:
            low: Smallest index along each stored axis D, H, W.
            high: Largest.
            shape: Of the stored volume.

        Returns:
            Smallest and largest (slice, row, column) of the view.
        """
        axes, flips = np.array(self.axes), np.array(self.flips)
        lows, highs, last = np.asarray(low)[axes], np.asarray(high)[axes], np.array(shape)[axes] - 1
        return np.where(flips, last - highs, lows), np.where(flips, last - lows, highs)

    def box_in_file(self, low: AnyArray, high: AnyArray, shape: tuple[int, int, int]) -> tuple[AnyArray, AnyArray]:
        """The reverse of `box_in_view`; `shape` is the stored one too."""
        flips, last = np.array(self.flips), np.array(shape)[np.array(self.axes)] - 1
        lows = np.where(flips, last - np.asarray(high), low)
        highs = np.where(flips, last - np.asarray(low), high)
        back = np.argsort(self.axes)
        return lows[back], highs[back]


def slicing_named(name: str, geometry: Geometry) -> Slicing:
    """Find the axes and directions of a slicing in a volume.

    Raises:
        UsageError: No slicing has this name.
        VolumeError: An anatomical one of a volume whose orientation is not known.
    """
    if name == ACQUISITION:
        return Slicing(name)
    wanted = _WANTED.get(name)
    if wanted is None:
        raise UsageError(f"a slicing among {', '.join(SLICINGS)}", repr(name), "choose one of these")
    axes = geometry.world_axes()
    if axes is None:
        found = f"a volume whose orientation its file does not say, for {name} slices"
        raise VolumeError("an orientation", found, f"take {ACQUISITION} slices, or save it as NIfTI")
    index_of = {world: index for index, (world, _) in enumerate(axes)}  # of i, j, k
    stored = tuple(2 - index_of[world] for world in wanted)
    # Radiologists have left, posterior and inferior at the high end: against the plus of every world axis.
    flips = tuple(axes[index_of[world]][1] for world in wanted)
    return Slicing(name, (stored[0], stored[1], stored[2]), (False, flips[1], flips[2]))
