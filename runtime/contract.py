"""The graph contract of SAM1-type models: what encoder and decoder take and give (docs/bundle.md).

Export writes it into the manifest; a runtime that opens a bundle holds the manifest against it, because a manifest may
come from anywhere. It knows nothing of graphs and backends.
"""

from .errors import BundleError
from .manifest import Manifest, PartSpec, TensorSpec
from .profile import Profile

MAX_IMAGE_SIZE = 4096  # four times MedSAM's: a larger S in a manifest is damage, or an attempt to exhaust memory


VALID_HW = TensorSpec("valid_hw", "int32", (2,))


def encoder_part(image_size: int, grid: int, channels: int = 256, *, valid_hw: bool = False) -> PartSpec:
    """Return the encoder's interface: `image` uint8 `[1, 3, S, S]` to `image_embedding` float32 `[1, C, E, E]`.

    Args:
        image_size: S.
        grid: E.
        channels: C.
        valid_hw: Whether padding is zeroed in the graph, which then takes `valid_hw` int32 `[2]`: height and width of
            the image within the square (`Profile.takes_valid_hw`).
    """
    image = TensorSpec("image", "uint8", (1, 3, image_size, image_size))
    return PartSpec("encoder", (image, VALID_HW) if valid_hw else (image,), (_embedding(grid, channels),))


def decoder_part(grid: int, channels: int = 256) -> PartSpec:
    """Return the decoder's interface: embedding and `boxes` `[N, 4]` to logits `[N, 1, 4E, 4E]` and IoU `[N, 1]`."""
    return PartSpec(
        "decoder",
        (_embedding(grid, channels), TensorSpec("boxes", "float32", ("N", 4))),
        (
            TensorSpec("low_res_logits", "float32", ("N", 1, 4 * grid, 4 * grid)),
            TensorSpec("iou_predictions", "float32", ("N", 1)),
        ),
    )


def _embedding(grid: int, channels: int) -> TensorSpec:
    return TensorSpec("image_embedding", "float32", (1, channels, grid, grid))


def check_contract(manifest: Manifest, profile: Profile) -> dict[str, PartSpec]:
    """Return the parts by name, once they are what a SAM1-type model under this profile has.

    Raises:
        BundleError: If a part is missing, or its tensors are others.
    """
    parts = {part.name: part for part in manifest.parts}
    grid, channels = manifest.embedding_size, _channels(parts.get("encoder"))
    image_size, valid_hw = profile.image_size, profile.takes_valid_hw
    wanted = (encoder_part(image_size, grid, channels, valid_hw=valid_hw), decoder_part(grid, channels))
    if not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise _broken(f"an image_size of at most {MAX_IMAGE_SIZE}", str(image_size))
    for part in wanted:
        if part.name not in parts:
            raise _broken(f"a part {part.name}", ", ".join(parts) or "none")
        if parts[part.name] != part:
            raise _broken(f"the {part.name} as {_text(part)}", _text(parts[part.name]))
    return {part.name: part for part in wanted}


def _channels(encoder: PartSpec | None) -> int:
    """Read C off the manifest: 256 in every published SAM, and both parts have to agree on it."""
    shape = encoder.outputs[0].shape if encoder is not None and encoder.outputs else ()
    channels = shape[1] if len(shape) == 4 else None
    return channels if isinstance(channels, int) else 256


def _text(part: PartSpec) -> str:
    tensors = (f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in (*part.inputs, *part.outputs))
    return ", ".join(tensors)[:300]


def _broken(expected: str, found: str) -> BundleError:
    return BundleError(expected, found, "use a bundle of a SAM1-type model, as `medsam-edge export` writes it")
