"""The shapes that the whole project speaks of, named once.

H, W: height and width of the user's image. S: side of the encoder's square input. E: side of the embedding grid.
N: number of boxes. Boxes are `x_min, y_min, x_max, y_max` in pixels of the image they belong to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]  # (H, W, 3), RGB, 0 to 255
Boxes: TypeAlias = npt.NDArray[np.float32]  # (N, 4)
Masks: TypeAlias = npt.NDArray[np.bool_]  # (N, H, W), one per box, may overlap
Mask: TypeAlias = npt.NDArray[np.bool_]  # (H, W)
Logits: TypeAlias = npt.NDArray[np.float32]  # (N, 1, 4E, 4E)
AnyArray: TypeAlias = npt.NDArray[Any]
Progress: TypeAlias = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True)
class Case:
    """An image with boxes and, where known, what a person drew.

    Attributes:
        id: Unique within its set; used in reports and file names.
        image: uint8 `(H, W, 3)`.
        boxes: float32 `(N, 4)`, in pixels of `image`.
        masks: bool `(N, H, W)`, the reference mask of each box, or None where nobody drew one.
        modality: "CT", "MR", "Ultrasound", … as reports group it.
        patient: An opaque identifier, so that one patient never stands on both sides of a comparison.
        spacing: Millimetres per pixel `(row, column)`, or None where unknown.
    """

    id: str
    image: Image
    boxes: Boxes
    masks: Masks | None
    modality: str
    patient: str
    spacing: tuple[float, float] | None = None
