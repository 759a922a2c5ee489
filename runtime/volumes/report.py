"""What is written about a segmented volume: where it lies, how it was cut, each object, what served it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..predictor import Predictor
from .prompts import Prompt
from .segmenting import Prepared, SegmentedVolume, voxels_sha256
from .volume import Volume

SCHEMA = "medsam-edge/segmented-volume/1"


def volume_report(
    predictor: Predictor,
    path: Path,
    prepared: Prepared,
    prompts: Sequence[Prompt],
    found: SegmentedVolume,
    names: dict[str, str],
) -> dict[str, object]:
    """Return the report as JSON's types and arrays.

    Args:
        predictor: What served.
        path: The volume's file.
        prepared: How it was cut, windowed and traversed.
        prompts: The objects.
        found: What was found.
        names: The names of the files beside the report.
    """
    slices = prepared.slices
    return {
        "schema": SCHEMA,
        "volume": {"file": path.name, **_volume(prepared.volume)},
        "slicing": asdict(prepared.slicing),
        "convention": asdict(prepared.convention) | {"after_empty": prepared.options.after_empty},
        "window": asdict(slices.applied) if slices.applied else None,
        "window_of_each_slice": slices.window.name if slices.window else None,
        "objects": _objects(prepared, prompts, found),
        "slices_encoded": found.encoded,
        "masks_decoded": found.decoded,
        "visits_resumed": found.resumed,
        "timings": {"encode_ms": found.encode_ms, "decode_ms": found.decode_ms, "total_ms": found.total_ms},
        "served_by": asdict(predictor.served_by),
        "files": names,
    }


def _volume(volume: Volume) -> dict[str, object]:
    place = volume.geometry
    return {
        "shape": list(volume.shape),
        "dtype": str(volume.voxels.dtype),
        "rescale": list(volume.rescale),
        "modality": volume.modality,
        "affine": place.affine,
        "space": place.space,
        "spacing": list(place.spacing),
        "orientation": place.orientation,
        "voxels_sha256": voxels_sha256(volume),
    }


def _objects(prepared: Prepared, prompts: Sequence[Prompt], found: SegmentedVolume) -> list[dict[str, object]]:
    kept = np.bincount(found.labels.ravel(), minlength=len(prompts) + 1)
    return [
        {
            "label": label,
            "reference_label": prompt.label,
            "box": list(prompt.box),  # in pixels of a slice as it is cut
            "start_slice": prompt.start,
            "first_slice": prompt.first,
            "last_slice": prompt.last,
            "box_in_file": _in_file(prepared, prompt),
            "slices": int(found.slices[label - 1]),
            "voxels": int(found.voxels[label - 1]),
            "voxels_in_label_map": int(kept[label]),  # fewer where a later object lies over this one
        }
        for label, prompt in enumerate(prompts, start=1)
    ]


def _in_file(prepared: Prepared, prompt: Prompt) -> list[float]:
    """x_min, y_min, z_min, x_max, y_max, z_max in voxels of the file, all inclusive."""
    x_min, y_min, x_max, y_max = prompt.box
    corners = np.array([prompt.first, y_min, x_min]), np.array([prompt.last, y_max, x_max])
    low, high = prepared.slicing.box_in_file(*corners, prepared.volume.shape)
    return [float(side) for side in (*low[::-1], *high[::-1])]
