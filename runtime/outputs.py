"""Writes results as people and other programs read them: label maps, overlays, PNG, challenge .npz, JSON.

Every file appears whole or not at all; the drawing itself is in `drawing`. Knows nothing about models, and
nothing about where the masks come from.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from .drawing import overlay
from .errors import ImageError, UsageError
from .files import write_atomic
from .types import AnyArray, Masks

__all__ = [
    "json_bytes",
    "label_map",
    "overlay",
    "png_bytes",
    "segs_npz_bytes",
    "write_png",
]


def label_map(masks: Masks) -> AnyArray:
    """Join masks into one map as the challenge does: label i is the i-th box, later ones overwrite.

    Args:
        masks: bool `(N, H, W)`.

    Returns:
        `(H, W)`, 0 for the background; uint8 up to 255 objects, uint16 above, so that no label wraps around.

    Raises:
        UsageError: More objects than uint16 has labels.
    """
    if len(masks) > np.iinfo(np.uint16).max:
        raise UsageError("at most 65535 objects in one map", f"{len(masks)}", "write several maps")
    labels = np.zeros(masks.shape[1:], np.uint8 if len(masks) <= 255 else np.uint16)
    for label, mask in enumerate(masks, start=1):
        labels[mask] = label
    return labels


def write_png(path: Path, array: AnyArray) -> None:
    """Replace a file by what `png_bytes` gives.

    Raises:
        ImageError: As `png_bytes`.
        StorageError: The file cannot be written.
    """
    write_atomic(path, png_bytes(array))


def png_bytes(array: AnyArray) -> bytes:
    """Encode gray or RGB pixels, or a label map.

    Args:
        array: uint8 `(H, W)` or `(H, W, 3)`, or uint16 `(H, W)`.

    Raises:
        ImageError: Another shape or dtype.
    """
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (gray or colour) or array.size == 0:
        expected = "uint8 or uint16 (H, W), or uint8 (H, W, 3)"
        raise ImageError(expected, f"{array.dtype} of shape {array.shape}", "convert it before writing")
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()


def segs_npz_bytes(labels: AnyArray) -> bytes:
    """Encode a label map as the challenge wants it: key `segs`, compressed.

    Args:
        labels: Integers `(H, W)`.

    Raises:
        UsageError: Not integers.
    """
    if labels.dtype.kind not in "iu":
        raise UsageError("labels as integers", f"{labels.dtype}", "pass what `label_map` returns")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, segs=labels)
    return buffer.getvalue()


def json_bytes(obj: object) -> bytes:
    """Encode as JSON with two spaces of indentation and a final line break.

    Args:
        obj: JSON's own types, and NumPy scalars, NumPy arrays and paths within them.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    text = json.dumps(obj, indent=2, allow_nan=False, default=_plain)
    return f"{text}\n".encode()


def _plain(value: object) -> Any:  # noqa: ANN401 - json.dumps wants whatever it can serialise
    """What JSON lacks, in its own types."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
