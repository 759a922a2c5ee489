"""Random weights of a known architecture, for people who want timings before they have weights.

What a model of random weights draws means nothing, and its parity looks better than a trained model's: the bundle says
so, and passes no gate.
"""

from pathlib import Path

import torch
from torch import nn

from ..runtime.errors import UsageError
from .checkpoint import Checkpoint, weights_hash
from .demo_checkpoint import checkpoint_path
from .models.config import DEMO, LITE_MEDSAM, MEDSAM_VIT_B, SAM_VIT_H, SAM_VIT_L, Config
from .models.sam import Sam

ARCHITECTURES: dict[str, tuple[Config, str]] = {
    "medsam-vit-b": (MEDSAM_VIT_B, "medsam"),
    "medsam-vit-l": (SAM_VIT_L, "medsam"),
    "medsam-vit-h": (SAM_VIT_H, "medsam"),
    "litemedsam": (LITE_MEDSAM, "litemedsam"),
    "demo": (DEMO, "medsam"),
}


def random_checkpoint(name: str, seed: int = 0) -> Checkpoint:
    """Draw weights: torch's own initialisation, and position tables that are not zero, as trained ones are not.

    Raises:
        UsageError: If no architecture has this name.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UsageError(f"an architecture among {known}", repr(name), "name one of these after --random-weights")
    config, profile = ARCHITECTURES[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sam(config)
        for key, parameter in model.named_parameters():
            if "pos_embed" in key or "rel_pos" in key:
                nn.init.trunc_normal_(parameter, std=0.02)
    tensors = {key: tensor.detach().contiguous() for key, tensor in model.state_dict().items()}
    digest = weights_hash(tensors)
    return Checkpoint(Path(f"random-{name}"), digest, digest, tensors, profile, trained=False)


def chosen(checkpoint: str | None, random_weights: str | None) -> Path | Checkpoint:
    """Return the one source of weights that a person named.

    Raises:
        UsageError: If there is none, or two.
    """
    if (checkpoint is None) == (random_weights is None):
        found = "neither" if checkpoint is None else "both"
        raise UsageError("a CHECKPOINT or --random-weights ARCH", found, "name exactly one of them")
    return checkpoint_path(checkpoint) if checkpoint is not None else random_checkpoint(str(random_weights))
