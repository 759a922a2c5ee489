import pytest
import torch
from medsam_edge.export.models.absorbed import AbsorbedDecoder, FewToMany, ManyToFew
from medsam_edge.export.models.config import LITE_MEDSAM, SamConfig
from medsam_edge.export.models.mask_decoder import MaskDecoder, TokenAttention
from torch.utils.flop_counter import FlopCounterMode

TINY = SamConfig(64, 8, 16, 2, 2, 32, 3, (1,), prompt_dim=32, decoder_mlp_dim=32)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def plain() -> TokenAttention:
    torch.manual_seed(3)
    return TokenAttention(32, 4, 2).double().requires_grad_(False)


@pytest.mark.parametrize("shared", [False, True], ids=["own image", "shared image"])
def test_few_tokens_that_look_at_many_see_the_same(plain: TokenAttention, shared: bool) -> None:
    tokens, key, value = drawn(3, 7, 32, seed=0), drawn(3, 50, 32, seed=1), drawn(3, 50, 32, seed=2)
    if shared:
        key, value = key[:1], value[:1]
    torch.testing.assert_close(FewToMany(plain)(tokens, key, value), plain(tokens, key, value))


@pytest.mark.parametrize("shared", [False, True], ids=["own image", "shared image"])
def test_many_tokens_that_look_at_few_see_the_same(plain: TokenAttention, shared: bool) -> None:
    image, key, value = drawn(3, 50, 32, seed=0), drawn(3, 7, 32, seed=1), drawn(3, 7, 32, seed=2)
    image = image[:1] if shared else image
    torch.testing.assert_close(ManyToFew(plain)(image, key, value), plain(image, key, value))


@pytest.mark.parametrize("count", [1, 5])
def test_the_whole_decoder_gives_the_same_numbers(count: int) -> None:
    torch.manual_seed(4)
    decoder = MaskDecoder(TINY).double().requires_grad_(False)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # norms and biases too: what stays 0 or 1 tests nothing
    given = drawn(1, 32, 8, 8, seed=0), drawn(64, 32, seed=1), drawn(count, 2, 32, seed=2)
    for found, wanted in zip(AbsorbedDecoder(decoder)(*given), decoder(*given), strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_box_costs_about_a_thousand_million_multiplications() -> None:
    """Against 1.81 in the plain form, by the same counter."""
    with torch.device("meta"):
        decoder = AbsorbedDecoder(MaskDecoder(LITE_MEDSAM))
        given = torch.empty(1, 256, 64, 64), torch.empty(4096, 256), torch.empty(1, 2, 256)
        with FlopCounterMode(display=False) as counter:
            decoder(*given)
    assert counter.get_total_flops() / 2e9 == pytest.approx(1.0, abs=0.05)
