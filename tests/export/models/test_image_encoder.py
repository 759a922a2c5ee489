"""The encoder's parts against their definitions, written out as loops."""

import torch
from medsam_edge.export.models.image_encoder import Attention, relative_table
from medsam_edge.export.models.sam import Sam


def test_the_relative_table_is_indexed_by_query_minus_key() -> None:
    table = torch.arange(5.0)[:, None]  # offsets -2 … 2
    spread = relative_table(table, 3)[..., 0]
    assert spread.tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]


@torch.no_grad()
def test_attention_is_its_definition_pair_by_pair() -> None:
    torch.manual_seed(0)
    layer, side, heads, x = Attention(8, 2, 3), 3, 2, torch.randn(1, 3, 3, 8)
    torch.nn.init.normal_(layer.rel_pos_h)
    torch.nn.init.normal_(layer.rel_pos_w)
    query, key, value = layer.qkv(x).reshape(side * side, 3, heads, 4).unbind(1)
    mixed = torch.zeros(side * side, heads, 4)
    for head in range(heads):
        for q in range(side * side):
            scores = torch.stack([score(layer, query[q, head], key[k, head], q, k) for k in range(side * side)])
            mixed[q, head] = scores.softmax(0) @ value[:, head]
    expected = layer.proj(mixed.reshape(1, side, side, 8))
    torch.testing.assert_close(layer(x), expected)


def score(layer: Attention, query: torch.Tensor, key: torch.Tensor, q: int, k: int) -> torch.Tensor:
    """Query · key / √d, plus the unscaled query against the tables of row and column offsets."""
    rows, columns = q // 3 - k // 3 + 2, q % 3 - k % 3 + 2
    return query @ key / 2 + query @ layer.rel_pos_h[rows] + query @ layer.rel_pos_w[columns]


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(sam: Sam, image: torch.Tensor) -> None:
    both = sam.encode(torch.cat([image, 255 - image]))
    torch.testing.assert_close(both[:1], sam.encode(image))


@torch.no_grad()
def test_global_blocks_carry_a_corner_to_the_opposite_one(sam: Sam, image: torch.Tensor) -> None:
    changed = image.clone()
    changed[..., 0, 0] += 20
    assert (sam.encode(changed) - sam.encode(image))[..., -1, -1].abs().max() > 1e-5
