"""SAM's three ViTs: every key and shape of the authors' files, written down apart from our modules; without memory."""

from collections.abc import Iterator
from math import prod

import pytest
import torch
from medsam_edge.export.architecture import config_of
from medsam_edge.export.models.config import MEDSAM_VIT_B, SAM_VIT_H, SAM_VIT_L, SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.separate_weights import LARGEST_WITHIN

Shapes = Iterator[tuple[str, tuple[int, ...]]]
# segment_anything/build_sam.py: width, depth, heads, blocks that attend globally; and bytes of the published file.
PUBLISHED = {
    "vit_b": (MEDSAM_VIT_B, (768, 12, 12, (2, 5, 8, 11)), 375_042_383),
    "vit_l": (SAM_VIT_L, (1024, 24, 16, (5, 11, 17, 23)), 1_249_524_607),
    "vit_h": (SAM_VIT_H, (1280, 32, 16, (7, 15, 23, 31)), 2_564_550_879),
}
GRID, WINDOW, DIM = 64, 14, 256


def layer(name: str, *shape: int) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def transposed(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (inputs, outputs, 2, 2)
    yield f"{name}.bias", (outputs,)


def encoder(width: int, depth: int, heads: int, everywhere: tuple[int, ...]) -> Shapes:
    yield "pos_embed", (1, GRID, GRID, width)
    yield from layer("patch_embed.proj", width, 3, 16, 16)
    for index in range(depth):
        block = f"blocks.{index}"
        span = GRID if index in everywhere else WINDOW
        for table in ("rel_pos_h", "rel_pos_w"):
            yield f"{block}.attn.{table}", (2 * span - 1, width // heads)
        for name, shape in {
            "norm1": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "norm2": (width,),
            "mlp.lin1": (4 * width, width),
            "mlp.lin2": (width, 4 * width),
        }.items():
            yield from layer(f"{block}.{name}", *shape)
    yield "neck.0.weight", (DIM, width, 1, 1)
    yield "neck.2.weight", (DIM, DIM, 3, 3)
    for norm in ("neck.1", "neck.3"):
        yield from layer(norm, DIM)


def prompt_encoder() -> Shapes:
    yield "pe_layer.positional_encoding_gaussian_matrix", (2, DIM // 2)
    for name in (*(f"point_embeddings.{index}" for index in range(4)), "not_a_point_embed", "no_mask_embed"):
        yield f"{name}.weight", (1, DIM)
    for name, shape in {"0": (4, 1, 2, 2), "1": (4,), "3": (16, 4, 2, 2), "4": (16,), "6": (DIM, 16, 1, 1)}.items():
        yield from layer(f"mask_downscaling.{name}", *shape)


def attention(name: str, inner: int) -> Shapes:
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield from layer(f"{name}.{projection}", inner, DIM)
    yield from layer(f"{name}.out_proj", DIM, inner)


def mlp(name: str, last: int) -> Shapes:
    for index, outputs in enumerate((DIM, DIM, last)):
        yield from layer(f"{name}.layers.{index}", outputs, DIM)


def mask_decoder() -> Shapes:
    for index in range(2):
        one = f"transformer.layers.{index}"
        yield from attention(f"{one}.self_attn", DIM)
        yield from attention(f"{one}.cross_attn_token_to_image", DIM // 2)
        yield from attention(f"{one}.cross_attn_image_to_token", DIM // 2)
        yield from layer(f"{one}.mlp.lin1", 2048, DIM)
        yield from layer(f"{one}.mlp.lin2", DIM, 2048)
        for norm in range(1, 5):
            yield from layer(f"{one}.norm{norm}", DIM)
    yield from attention("transformer.final_attn_token_to_image", DIM // 2)
    yield from layer("transformer.norm_final_attn", DIM)
    yield "iou_token.weight", (1, DIM)
    yield "mask_tokens.weight", (4, DIM)
    yield from transposed("output_upscaling.0", DIM, 64)
    yield from layer("output_upscaling.1", 64)
    yield from transposed("output_upscaling.3", 64, 32)
    for index in range(4):
        yield from mlp(f"output_hypernetworks_mlps.{index}", 32)
    yield from mlp("iou_prediction_head", 4)


def authors(name: str) -> dict[str, tuple[int, ...]]:
    parts = {
        "image_encoder": encoder(*PUBLISHED[name][1]),
        "prompt_encoder": prompt_encoder(),
        "mask_decoder": mask_decoder(),
    }
    return {f"{part}.{key}": shape for part, shapes in parts.items() for key, shape in shapes}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_list_is_as_large_as_the_published_file(name: str) -> None:
    """Some 200 to 300 bytes a tensor are its name and the file's own bookkeeping."""
    shapes = authors(name)
    spare = PUBLISHED[name][2] - 4 * sum(map(prod, shapes.values()))
    assert 150 < spare / len(shapes) < 400


@pytest.mark.parametrize("name", PUBLISHED)
def test_our_keys_and_shapes_are_the_authors(name: str) -> None:
    with torch.device("meta"):
        state = Sam(PUBLISHED[name][0]).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == authors(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_is_recognised_by_the_authors_keys_and_shapes(name: str) -> None:
    found = config_of({key: torch.empty(shape, device="meta") for key, shape in authors(name).items()})
    assert found == PUBLISHED[name][0]
    assert isinstance(found, SamConfig)
    width, depth, heads, everywhere = PUBLISHED[name][1]
    assert (found.embed_dim, found.depth, found.num_heads, found.global_blocks) == (width, depth, heads, everywhere)


def test_only_the_largest_needs_weights_beside_its_graph() -> None:
    sizes = {
        name: 4 * sum(prod(shape) for key, shape in authors(name).items() if key.startswith("image"))
        for name in PUBLISHED
    }
    assert [name for name, size in sizes.items() if size > LARGEST_WITHIN] == ["vit_h"]
    assert sizes["vit_h"] / 2 < LARGEST_WITHIN  # in float16
