"""Axial slices of the evaluation volumes, as 2D cases. Only for the model card: `segment` on volumes is another thing.

CT is windowed to level 40, width 400; MR to the 0.5th to 99.5th percentile of its non-zero voxels, as MedSAM's own
pre_CT_MR.py does. Slices are spread evenly over the volume; objects too small to mean anything are left out.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...runtime.boxes import boxes_from_masks
from ...runtime.types import AnyArray, Case

SLICES = 8
LEAST_PIXELS, LEAST_SIDE = 40, 6


def volume_cases(folder: Path, split: str) -> Iterator[Case]:
    """Yield slices of each NIfTI volume that `cases.csv` puts into `split`."""
    with (folder / "cases.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == split and row["file"].endswith(".nii.gz")]
    for row in rows:
        labels = folder / row["file"].replace(".nii.gz", "_seg.nii.gz")
        yield from _slices(row, _read(folder / row["file"]), _read(labels).astype(np.int32))


def windowed(volume: AnyArray, modality: str) -> AnyArray:
    """Map a volume to uint8 with the modality's window."""
    low, high = (-160.0, 240.0) if modality == "CT" else np.percentile(volume[volume > 0], [0.5, 99.5])
    return (np.clip((volume - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _read(path: Path) -> AnyArray:
    import nibabel  # of the extra `dev`; the rest of the evaluation does without

    return np.asarray(nibabel.nifti1.load(path).get_fdata(dtype=np.float32))  # type: ignore[no-untyped-call]


def _slices(row: dict[str, str], volume: AnyArray, labels: AnyArray) -> Iterator[Case]:
    pixels = windowed(volume, row["modality"])
    for z in np.linspace(0, volume.shape[2] - 1, SLICES + 2).astype(int)[1:-1]:
        # NIfTI's first axis runs right to left; turned so that the patient lies as radiologists look at him.
        image, drawn = np.rot90(pixels[:, :, z]), np.rot90(labels[:, :, z])
        masks = [drawn == label for label in np.unique(drawn[drawn > 0])]
        large = [
            mask for mask in masks if mask.sum() >= LEAST_PIXELS and min(np.ptp(np.nonzero(mask), axis=1)) >= LEAST_SIDE
        ]
        if large:
            stack = np.stack(large)
            rgb = np.repeat(image[:, :, None], 3, axis=2)
            yield Case(f"{row['id']}-z{z}", rgb, boxes_from_masks(stack), stack, row["modality"], row["patient"])
