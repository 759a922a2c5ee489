"""The authors' way: PyTorch, eager, float32, with their preprocessing. What a bundle replaces.

The network is this toolkit's plain form of theirs (export/models), under the same weights. It computes mask token 0
only and shares the embedding among boxes, so it does no more work than the authors' own module.
"""

import time
from importlib import import_module
from pathlib import Path

import torch

from ...export.architecture import model_of
from ...runtime.predictor import MAX_BOXES, ServedBy, Timings
from ...runtime.profile import Profile
from ...runtime.types import Boxes, Image, Masks
from .upstream_steps import prepare, script_for


class Upstream:
    """A state dict, opened and run as MedSAM_Inference.py does.

    Args:
        weights: What `torch.save` wrote of a state dict under the authors' names.
        profile: Says which of the authors' scripts; no value of it is used but its name and size.

    Raises:
        UsageError: If the profile has no such script.
        CheckpointError: If the weights are of no known architecture.
    """

    def __init__(self, weights: Path, profile: Profile) -> None:
        self._script, self._side = script_for(profile.name), profile.image_size
        for module in self._script.libraries:  # loading them is part of the start, not of the first image
            import_module(module)
        self._model = model_of(torch.load(weights, map_location="cpu", weights_only=True))
        self._embedding, self._image_hw = torch.empty(0), (0, 0)
        self.served_by = ServedBy("torch", str(torch.__version__), "CPU", "f32", {})

    @torch.no_grad()
    def segment(self, image: Image, boxes: Boxes) -> tuple[Masks, Timings]:
        """See `Subject`."""
        self._image_hw = (image.shape[0], image.shape[1])
        start = time.perf_counter()
        tensor = prepare(self._script.resize(image, self._side), self._side)
        middle = time.perf_counter()
        self._embedding = self._model.image_encoder(tensor)
        end = time.perf_counter()
        masks, timings = self.again(boxes)
        return masks, Timings((middle - start) * 1e3, (end - middle) * 1e3).plus(timings)

    @torch.no_grad()
    def again(self, boxes: Boxes) -> tuple[Masks, Timings]:
        """See `Subject`. Boxes go through the decoder as many at a time as a bundle's do."""
        start = time.perf_counter()
        prompts = self._script.boxes(boxes, self._image_hw, self._side)
        chunks = torch.split(prompts, MAX_BOXES)
        logits = torch.cat([self._model.decode(self._embedding, chunk)[0] for chunk in chunks])
        middle = time.perf_counter()
        masks = self._script.draw(logits, self._image_hw)
        end = time.perf_counter()
        return masks, Timings(decode_ms=(middle - start) * 1e3, postprocess_ms=(end - middle) * 1e3)
