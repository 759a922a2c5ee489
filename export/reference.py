"""The source checkpoint's own answers, in PyTorch float32: what every deployed graph is held against.

It uses the same profile as the runtime, so a difference is the graph's and not the preprocessing's.
"""

import copy
from pathlib import Path

import numpy as np
import torch

from ..runtime.errors import UsageError
from ..runtime.golden import Golden
from ..runtime.manifest import Manifest
from ..runtime.predictor import MAX_BOXES
from ..runtime.profile import Profile
from ..runtime.profile_steps import boxes_to_encoder, encoder_inputs, masks_from_logits
from ..runtime.types import AnyArray, Boxes, Case, Image
from .architecture import model_of
from .checkpoint import read_checkpoint
from .models.image_encoder import Attention
from .models.normalisation import normalisation_of
from .models.sam import Sam


class Reference:
    """A torch model under a profile; answers cases as the authors' script would, one attention head at a time."""

    def __init__(self, model: Sam, profile: Profile) -> None:
        model = copy.deepcopy(model, {id(one): one for one in model.parameters()})  # shares the weights
        for module in model.image_encoder.modules():
            if isinstance(module, Attention):
                module.heads_at_once = 1
        self.model, self.profile, self.normalise = model, profile, normalisation_of(profile)

    def embed(self, image: Image) -> AnyArray:
        """Return the embedding `(1, 256, E, E)` of uint8 `(H, W, 3)`."""
        with torch.inference_mode():
            inputs = map(torch.from_numpy, encoder_inputs(self.profile, image).values())
            return self.model.encode(*inputs, normalise=self.normalise).numpy()

    def decode(self, embedding: AnyArray, boxes: Boxes, image_hw: tuple[int, int]) -> tuple[AnyArray, AnyArray]:
        """Return logits `(N, 1, 4E, 4E)` and IoU `(N, 1)` for boxes in pixels of the image."""
        prompts = torch.from_numpy(boxes_to_encoder(self.profile, boxes, image_hw))
        with torch.inference_mode():
            parts = [self.model.decode(torch.from_numpy(embedding), chunk) for chunk in torch.split(prompts, MAX_BOXES)]
        logits, iou = zip(*parts, strict=True)
        return torch.cat(logits).numpy(), torch.cat(iou).numpy()

    def answer(self, case: Case) -> Golden:
        """Run a case through both halves and the profile."""
        image_hw = (case.image.shape[0], case.image.shape[1])
        embedding = self.embed(case.image)
        logits, iou = self.decode(embedding, case.boxes, image_hw)
        return Golden(
            id=case.id,
            modality=case.modality,
            image=np.ascontiguousarray(case.image),
            boxes=case.boxes,
            image_embedding=embedding,
            low_res_logits=logits,
            iou_predictions=iou,
            masks=masks_from_logits(self.profile, logits, image_hw),
            reference=case.masks,
        )


def reference_for(checkpoint: Path, manifest: Manifest) -> Reference:
    """Open the checkpoint that a bundle was exported from.

    Raises:
        UsageError: If the weights are others.
        CheckpointError, StorageError: As `read_checkpoint`.
    """
    source = read_checkpoint(checkpoint)
    if source.weights_sha256 != manifest.model.weights_sha256:
        raise UsageError(
            f"the bundle's own source, weights {manifest.model.weights_sha256[:16]}…",
            f"{checkpoint.name} with weights {source.weights_sha256[:16]}…",
            "name the checkpoint that this bundle was exported from",
        )
    return Reference(model_of(source.tensors), Profile.from_dict(manifest.profile))
