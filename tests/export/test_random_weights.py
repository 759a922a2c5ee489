from pathlib import Path

import pytest
import torch
from medsam_edge.export.architecture import model_of
from medsam_edge.export.models.config import DEMO
from medsam_edge.export.random_weights import chosen, random_checkpoint
from medsam_edge.runtime.errors import UsageError


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    one, again, other = random_checkpoint("demo"), random_checkpoint("demo"), random_checkpoint("demo", seed=1)
    assert one.weights_sha256 == again.weights_sha256 != other.weights_sha256
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_is_a_model_that_says_of_itself_that_it_is_not_trained() -> None:
    found = random_checkpoint("demo")
    assert (found.trained, found.profile, found.path.name) == (False, "medsam", "random-demo")
    model = model_of(found.tensors)
    assert model.config == DEMO
    assert all(float(one.std()) > 0 for name, one in found.tensors.items() if "rel_pos" in name)


def test_an_unknown_architecture_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="medsam-vit-b"):
        random_checkpoint("vit-g")


@pytest.mark.parametrize("pair", [(None, None), ("a.pth", "demo")])
def test_exactly_one_source_is_named(pair: tuple[str | None, str | None]) -> None:
    with pytest.raises(UsageError, match=r"found (neither|both)"):
        chosen(*pair)


def test_a_file_stays_a_path_until_it_is_read() -> None:
    assert chosen("a.pth", None) == Path("a.pth")
