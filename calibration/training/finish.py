"""From the averaged weights of a finished run to the file that ships: fp16 safetensors under the authors' keys."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from ...export.models.sam import Sam


def finish(model: Sam, out: Path) -> Path:
    """Write `medsam_demo.safetensors`; fp16 halves the file and every consumer casts it back to float32."""
    path = out / "medsam_demo.safetensors"
    weights = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata={"profile": "medsam"})
    return path
