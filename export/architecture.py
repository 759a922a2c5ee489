"""Says which network a state dict belongs to, from its keys and shapes alone, and builds it.

Source of the layout: segment_anything/build_sam.py. Everything but the decoder's head count shows in the shapes. What
shapes cannot tell, MedSAM from plain SAM, is the profile's business.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from ..runtime.errors import CheckpointError
from .models.config import LITE_MEDSAM, MOBILE_SAM, Config, SamConfig, TinyVitConfig
from .models.sam import Sam

Tensors = Mapping[str, torch.Tensor]

KNOWN = "SAM1-type with a ViT or TinyViT image encoder (MedSAM, LiteMedSAM, their fine-tunes)"
# Recognised, so that the message can name them; not exported.
_FOREIGN = {
    "image_encoder.backbone.": "EfficientViT-SAM (MedficientSAM, DAFT)",
    "image_encoder.features.": "RepViT (Rep-MedSAM)",
    "image_encoder.trunk.": "the SAM 2 family (MedSAM2)",
    "decoder5.": "SAM3D",
}
_BLOCKS = "image_encoder.blocks."
_POSITIONS = "image_encoder.pos_embed"
_TINY_PATCH = "image_encoder.patch_embed.seq.0.c.weight"
# MobileSAM's files bring TinyViT's classification head, and every batch normalisation a counter: nothing computes with
# them.
_UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")
_COUNTER, _COUNTED = ".num_batches_tracked", ".running_mean"
# What reading sizes off tensors raises where a tensor is missing or of a shape that no such network has.
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, RuntimeError)


def config_of(tensors: Tensors) -> Config:
    """Read the configuration off the shapes.

    Raises:
        CheckpointError: If this is no SAM1-type model; the message names the keys that were seen.
    """
    try:
        return _tiny_vit(tensors) if _TINY_PATCH in tensors else _config_of(tensors)
    except _MALFORMED as error:
        raise _unknown(tensors, error) from error


def used(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Leave out what a TinyViT is known not to compute with; of any other network everything stays.

    That is its classification head, and the counter of each batch normalisation whose mean is there too.
    """
    if _TINY_PATCH not in tensors:
        return dict(tensors)
    idle = {name for name in tensors if name.startswith(_UNUSED)}
    counters = [name for name in tensors if name.endswith(_COUNTER)]
    idle |= {name for name in counters if name.removesuffix(_COUNTER) + _COUNTED in tensors}
    return {name: tensor for name, tensor in tensors.items() if name not in idle}


def model_of(tensors: Tensors) -> Sam:
    """Build the network and load the weights, every key accounted for and every value a finite float.

    Only what `used` leaves is looked at and loaded.

    Raises:
        CheckpointError: If the architecture is unknown, a key is missing, left over or of another shape, a
            tensor holds integers, NaN or infinity.
    """
    config = config_of(tensors)
    tensors = used(tensors)
    try:
        with torch.device("meta"):
            model = Sam(config)
    except _MALFORMED as error:  # sizes that no network can have
        raise _unknown(tensors, error) from error
    _check_keys({name: tuple(value.shape) for name, value in used(model.state_dict()).items()}, tensors)
    _check_values(tensors)
    model.load_state_dict(tensors, assign=True)  # torch starts absent counters at 0
    return model.eval().requires_grad_(False)


def _config_of(tensors: Tensors) -> SamConfig:
    if empty := [name for name, tensor in tensors.items() if 0 in tensor.shape]:
        raise ValueError(f"{empty[0]} is empty")
    _, grid, _, width = tensors[_POSITIONS].shape
    patch = tensors["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = 1 + max(int(name.removeprefix(_BLOCKS).split(".")[0]) for name in tensors if name.startswith(_BLOCKS))
    tables = [tensors[f"{_BLOCKS}{index}.attn.rel_pos_h"] for index in range(depth)]
    spans = [(len(table) + 1) // 2 for table in tables]
    windows = sorted(set(spans) - {grid})
    config = SamConfig(
        image_size=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // tables[0].shape[1],
        mlp_dim=len(tensors[f"{_BLOCKS}0.mlp.lin1.bias"]),
        window_size=windows[0] if windows else grid,
        global_blocks=tuple(index for index, span in enumerate(spans) if span == grid),
        prompt_dim=tensors["prompt_encoder.no_mask_embed.weight"].shape[1],
        decoder_mlp_dim=len(tensors["mask_decoder.transformer.layers.0.mlp.lin1.bias"]),
    )
    if config.prompt_dim % (2 * config.decoder_heads):
        raise ValueError(f"{config.prompt_dim} channels for a decoder of {config.decoder_heads} heads")
    return config


def _tiny_vit(tensors: Tensors) -> TinyVitConfig:
    """Tell LiteMedSAM from MobileSAM by the patch embedding; sizes of the stages are read off the shapes."""
    known = LITE_MEDSAM if tensors[_TINY_PATCH].shape[-1] == 1 else MOBILE_SAM
    stages = [f"image_encoder.layers.{index}.blocks" for index in range(len(known.widths))]
    biases = [tensors[f"{stage}.0.attn.attention_biases"].shape for stage in stages[1:]]
    convolutions = tensors[f"{stages[0]}.0.conv3.c.weight"].shape[0]
    return replace(
        known,
        widths=(convolutions, *(len(tensors[f"{stage}.0.mlp.fc2.bias"]) for stage in stages[1:])),
        depths=tuple(_blocks_below(tensors, stage) for stage in stages),
        heads=(known.heads[0], *(shape[0] for shape in biases)),
        windows=(known.windows[0], *(math.isqrt(shape[1]) for shape in biases)),
        prompt_dim=tensors["prompt_encoder.no_mask_embed.weight"].shape[1],
        decoder_mlp_dim=len(tensors["mask_decoder.transformer.layers.0.mlp.lin1.bias"]),
    )


def _blocks_below(tensors: Tensors, stage: str) -> int:
    return 1 + max(
        int(name.removeprefix(f"{stage}.").split(".")[0]) for name in tensors if name.startswith(f"{stage}.")
    )


def _unknown(tensors: Tensors, error: Exception) -> CheckpointError:
    name = next((name for prefix, name in _FOREIGN.items() if any(key.startswith(prefix) for key in tensors)), None)
    if name is not None:
        return CheckpointError(KNOWN, f"{name}, which this version does not export", "use one of the former")
    whole = "export the state dict of the whole model under the authors' keys"
    mark = next((name for name in (_POSITIONS, _TINY_PATCH) if name in tensors), None)
    if mark is not None:
        reason = f"no {error.args[0]}" if isinstance(error, KeyError) else f"shapes that do not fit together: {error}"
        return CheckpointError(KNOWN, f"{mark}, but {reason}", whole)
    seen = ", ".join(list(tensors)[:4])
    return CheckpointError(
        f"{KNOWN}, with keys such as {_POSITIONS}",
        f"{len(tensors)} keys of an unknown architecture: {seen}, …",
        whole,
    )


def _check_keys(wanted: Mapping[str, tuple[int, ...]], tensors: Tensors) -> None:
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    other = [name for name in wanted if name in tensors and tuple(tensors[name].shape) != wanted[name]]
    if not (missing or extra or other):
        return
    groups = {"missing": missing, "left over": extra, "of another shape": other}
    found = "; ".join(f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in groups.items() if names)
    raise CheckpointError(
        f"exactly the {len(wanted)} tensors of a SAM1-type model",
        found,
        "export the state dict of the whole model",
    )


def _check_values(tensors: Tensors) -> None:
    other = [f"{name} ({tensor.dtype})" for name, tensor in tensors.items() if not tensor.is_floating_point()]
    if other:
        raise CheckpointError(
            "floating-point weights", f"{len(other)} tensors of other types: {other[0]}", "export the unquantised model"
        )
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(
            "finite weights",
            f"NaN or infinity in {len(broken)} tensors: {', '.join(broken[:3])}",
            "export a checkpoint from before the training diverged",
        )
