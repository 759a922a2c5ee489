"""Finds the weights that a bundle was exported from, for the candidate that runs them in PyTorch.

They are handed over as a plain state dict, so that the candidate starts as the authors' script does: `torch.load`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import UsageError
from ..runtime.files import explained
from ..runtime.manifest import Manifest, Model

if TYPE_CHECKING:
    import torch

_RANDOM = "random-"


def write_weights(path: Path, source: str | None, manifest: Manifest) -> Path:
    """Write the bundle's weights as `torch.save` does.

    Args:
        path: The file to write.
        source: The checkpoint that a person named, or None: then random weights are drawn anew, and the packaged
            demo is known.
        manifest: The bundle's.

    Raises:
        UsageError: If the weights are others than the bundle's, or none was named and none is known.
        StorageError: If the file cannot be written.
        CheckpointError: If the checkpoint cannot be read.
    """
    import torch

    tensors = _tensors(source, manifest)
    with explained("a temporary file that can be written", path), open(path, "wb") as file:
        torch.save(tensors, file)
    return path


def _tensors(source: str | None, manifest: Manifest) -> "dict[str, torch.Tensor]":
    from ..export.demo_checkpoint import checkpoint_path, demo_checkpoint
    from ..export.reference import reference_for

    model = manifest.model
    if source is not None:
        return reference_for(checkpoint_path(source), manifest).model.state_dict()
    if not model.trained and model.source_file.startswith(_RANDOM):
        return _drawn_again(model)
    if model.source_file == demo_checkpoint().name:
        return reference_for(demo_checkpoint(), manifest).model.state_dict()
    raise UsageError(
        "the checkpoint that this bundle was exported from",
        f"none named; the manifest says {model.source_file!r}",
        "add --source CHECKPOINT",
    )


def _drawn_again(model: Model) -> "dict[str, torch.Tensor]":
    from ..export.random_weights import random_checkpoint

    found = random_checkpoint(model.source_file.removeprefix(_RANDOM))
    if found.weights_sha256 != model.weights_sha256:
        raise UsageError(
            f"the bundle's random weights {model.weights_sha256[:16]}…",
            f"{found.weights_sha256[:16]}… where this PyTorch draws them",
            "export the bundle again on this machine",
        )
    return dict(found.tensors)
