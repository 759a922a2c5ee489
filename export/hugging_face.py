"""Checkpoints in Transformers' form: a folder with `config.json` and weights, and the way back to the authors' keys.

Source of the key map: transformers' convert_sam_to_hf.py, read backwards. It knows nothing of torch.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from ..runtime.errors import CheckpointError, StorageError
from ..runtime.files import read_bytes
from ..runtime.profile import MEAN_STD, Profile, medsam_hf_flaviagiammarino, medsam_hf_wanglab

T = TypeVar("T")

MARK = "vision_encoder."
# A copy of the prompt encoder's matrix that Transformers keeps beside it.
COPY, ORIGINAL = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
RESAMPLE = {"pillow-bilinear": 2, "pillow-bicubic": 3}  # kernel to Pillow's number of it
_CONFIG_BYTES = 1 << 20
# In this order: what stands further down would also match what stands above it.
_TO_AUTHORS = (
    (r"(mlps\.\d|iou_prediction_head)\.layers\.0\.", r"\1.layers.1."),
    (r"(mlps\.\d|iou_prediction_head)\.proj_in\.", r"\1.layers.0."),
    (r"(mlps\.\d|iou_prediction_head)\.proj_out\.", r"\1.layers.2."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"\.shared_embedding\.positional_embedding$", ".pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"\.neck\.conv1\.", ".neck.0."),
    (r"\.neck\.layer_norm1\.", ".neck.1."),
    (r"\.neck\.conv2\.", ".neck.2."),
    (r"\.neck\.layer_norm2\.", ".neck.3."),
    (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
    (r"\.layer_norm", ".norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
)


def authors_name(name: str) -> str:
    """Return the authors' name of a tensor of Transformers' `SamModel`."""
    for pattern, replacement in _TO_AUTHORS:
        name = re.sub(pattern, replacement, name)
    return name


def authors_keys(tensors: Mapping[str, T]) -> dict[str, T]:
    """Rename a `SamModel` state dict; any other state dict comes back as it is."""
    if not any(name.startswith(MARK) for name in tensors):
        return dict(tensors)
    return {authors_name(name): tensor for name, tensor in tensors.items() if name != COPY or ORIGINAL not in tensors}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the files with the weights of a model folder: safetensors before pickles, shards in their order.

    Raises:
        CheckpointError: If this is no folder of a `SamModel`.
        StorageError: If a file cannot be read.
    """
    kind = _read_json(folder, "config.json").get("model_type")
    if kind != "sam":
        raise CheckpointError("a SamModel folder, whose config.json says model_type sam", repr(kind), _MEND)
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return (folder / name,)
        if (folder / f"{name}.index.json").is_file():
            return _shards(folder, f"{name}.index.json")
    raise CheckpointError("model.safetensors or pytorch_model.bin in the folder", f"neither in {folder}", _MEND)


_MEND = "name the folder that `save_pretrained` wrote, or the file with the weights"


def suggested_profile(folder: Path) -> str | None:
    """Name the profile whose steps a folder's `preprocessor_config.json` states, or None if it states no known ones.

    It says what Transformers would do with these weights, not what they were trained with: a suggestion to a person.
    """
    try:
        stated = _read_json(folder, "preprocessor_config.json")
    except (CheckpointError, StorageError):  # absent or damaged: then there is nothing to suggest
        return None
    steps = ("do_resize", "do_rescale", "do_pad")  # absent, they are done
    usual = all(stated.get(step, True) is True for step in steps) and stated.get("rescale_factor", 1 / 255) == 1 / 255
    if not usual or not _is_one_square(stated.get("size"), stated.get("pad_size")):
        return None
    profiles = (medsam_hf_wanglab(), medsam_hf_flaviagiammarino())
    return next((profile.name for profile in profiles if _states(stated, profile)), None)


def _is_one_square(size: object, pad: object) -> bool:
    if not isinstance(size, dict) or not isinstance(pad, dict):
        return False
    side = size.get("longest_edge")
    return isinstance(side, int) and pad.get("height") == pad.get("width") == side


def _states(stated: dict[str, object], profile: Profile) -> bool:
    """Whether kernel and normalisation are the profile's; mean and std mean nothing where they are not applied."""
    if stated.get("resample") != RESAMPLE[profile.kernel]:
        return False
    if stated.get("do_normalize") is False:
        return profile.normalisation == MEAN_STD
    same = (stated.get("image_mean"), stated.get("image_std")) == (list(profile.mean or ()), list(profile.std or ()))
    return stated.get("do_normalize") is True and same


def _shards(folder: Path, index: str) -> tuple[Path, ...]:
    listed = _read_json(folder, index).get("weight_map")
    names = sorted(set(listed.values())) if isinstance(listed, dict) else []
    # A name from a file must not lead out of its folder.
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise CheckpointError(f"a weight_map of plain file names in {index}", "something else", _MEND)
    return tuple(folder / name for name in names)


def _read_json(folder: Path, name: str) -> dict[str, object]:
    if not (folder / name).is_file():
        raise CheckpointError(f"a checkpoint file, or a SamModel folder with a {name}", f"{folder} without it", _MEND)
    try:
        found = json.loads(read_bytes(folder / name, _CONFIG_BYTES))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"JSON in {name}", str(error), _MEND) from error
    return found if isinstance(found, dict) else {}
