"""The images of one `bench`, in a file that every worker reads: none of them has to open the bundle for it.

A worker that measures the authors' way never touches a bundle, and nobody's memory figure holds golden embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.files import explained
from ...runtime.golden import Golden
from ...runtime.types import AnyArray, Boxes, Image, Masks


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, its boxes, and the source checkpoint's masks of them; shapes as in `Golden`."""

    image: Image
    boxes: Boxes
    masks: Masks


def write_samples(path: Path, golden: Sequence[Golden]) -> Path:
    """Write image, boxes and masks of golden cases to an `.npz`.

    Raises:
        StorageError: If it cannot be written.
    """
    arrays: dict[str, AnyArray] = {}
    for index, case in enumerate(golden):
        arrays |= {f"image{index}": case.image, f"boxes{index}": case.boxes, f"masks{index}": case.masks}
    with explained("a temporary file that can be written", path):
        np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def read_samples(path: Path) -> tuple[Sample, ...]:
    """Read what `write_samples` wrote.

    Raises:
        StorageError: If it cannot be read.
    """
    with explained("the samples that can be read", path), np.load(path, allow_pickle=False) as arrays:
        count = len(arrays.files) // 3
        return tuple(
            Sample(arrays[f"image{index}"], arrays[f"boxes{index}"], arrays[f"masks{index}"]) for index in range(count)
        )
