"""A backend without a model: deterministic, cheap, honest about its shapes. For tests, yours included.

Its encoder averages the image over each cell of the grid; its decoder draws the ellipse that each box encloses, and
estimates an IoU from the box alone. It reads nothing of the graph file.
"""

from collections.abc import Collection, Mapping
from typing import cast

import numpy as np

from ..types import AnyArray
from .base import BackendChoice, Described, GraphSource, HostTensor, Tensor, check_inputs


def devices() -> tuple[str, ...]:
    """Return the one device that is always there."""
    return ("CPU",)


def version() -> str:
    """Return the version of the made-up arithmetic."""
    return "1"


class FakeBackend(Described):
    """Stands in for either part of a SAM1-type model, told apart by the names of its inputs.

    Attributes:
        pixels_per_logit: S / 4E, which no tensor of the decoder shows: 4 for MedSAM and the demo; 2 unless set.
        calls: How often `run` was called.
    """

    pixels_per_logit = 2.0

    def __init__(self, source: GraphSource, choice: BackendChoice) -> None:
        super().__init__(source.part)
        self.precision = choice.precision
        self.calls = 0

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        """Answer with arithmetic that depends on every input."""
        arrays = check_inputs(self.inputs, tensors)
        self.calls += 1
        if "image" in arrays:
            return {"image_embedding": HostTensor(self._encode(_without_padding(**arrays)))}
        logits = self._decode(arrays["image_embedding"], arrays["boxes"])
        iou = np.full((len(logits), 1), 0.8, np.float32)
        return {"low_res_logits": HostTensor(logits), "iou_predictions": HostTensor(iou)}

    def close(self) -> None:
        """Nothing is held."""

    def _size(self, name: str) -> int:
        shape = next(spec.shape for spec in (*self.inputs, *self.outputs) if spec.name == name)
        return cast("int", shape[-1])

    def _encode(self, image: AnyArray) -> AnyArray:
        side = self._size("image_embedding")
        cell = image.shape[-1] // side
        cells = image[0].reshape(3, side, cell, side, cell).mean(axis=(2, 4), dtype=np.float32) / 255
        return np.resize(cells, (1, 256, side, side)).astype(np.float32)

    def _decode(self, embedding: AnyArray, boxes: AnyArray) -> AnyArray:
        side = self._size("low_res_logits")
        centre, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1) / 2
        pixels = (np.arange(side, dtype=np.float32) + 0.5) * self.pixels_per_logit
        x = (pixels[None] - centre[:, :1]) / radius[:, :1]
        y = (pixels[None] - centre[:, 1:]) / radius[:, 1:]
        inside = 1 - (x[:, None, :] ** 2 + y[:, :, None] ** 2)
        logits = np.clip(8 * inside, -10, 10)[:, None] + embedding.mean() * 1e-3
        return np.asarray(logits, np.float32)


def _without_padding(image: AnyArray, valid_hw: AnyArray | None = None) -> AnyArray:
    if valid_hw is None:
        return image
    height, width = valid_hw
    kept = np.zeros_like(image)
    kept[:, :, :height, :width] = image[:, :, :height, :width]
    return kept
