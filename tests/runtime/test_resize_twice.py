"""Two interpolations with a crop between them, as one product of matrices; PyTorch is the oracle."""

import tracemalloc

import numpy as np
import pytest
from medsam_edge.runtime.resize import Via, bilinear_above
from medsam_edge.runtime.types import AnyArray


def maps(count: int, side: int) -> AnyArray:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    waves = [np.cos(y / (3 + n)) * np.cos(x / (4 + n)) + 0.1 * np.sin(x * y / 17) for n in range(count)]
    return np.array(waves, np.float32)


@pytest.mark.parametrize(
    ("side", "crop_hw", "image_hw"),
    [
        (256, (256, 171), (900, 601)),
        (256, (77, 256), (77, 256)),
        (256, (256, 256), (64, 64)),
        (64, (1, 64), (5, 640)),
        (100, (63, 100), (131, 209)),
        (48, (48, 30), (40, 25)),
    ],
    ids=str,
)
def test_it_is_torch_twice(side: int, crop_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    given = maps(3, 64)
    interpolate = torch.nn.functional.interpolate
    large = interpolate(torch.from_numpy(given)[None], (side, side), mode="bilinear", align_corners=False)
    wanted = interpolate(large[..., : crop_hw[0], : crop_hw[1]], image_hw, mode="bilinear", align_corners=False)[0]
    found = bilinear_above(given, *image_hw, 0.2, Via(side, crop_hw))
    unsure = (wanted.numpy() > 0.2) != found
    assert np.abs(wanted.numpy() - 0.2)[unsure].max(initial=0) < 1e-5
    assert np.count_nonzero(unsure) <= 2
    assert 0.05 < found.mean() < 0.95


def test_once_and_twice_are_not_the_same() -> None:
    given = maps(1, 64)
    once, twice = bilinear_above(given, 700, 700, 0.2), bilinear_above(given, 700, 700, 0.2, Via(200, (200, 200)))
    assert 0 < np.mean(once != twice) < 0.02


def test_no_map_of_the_larger_size_is_ever_held() -> None:
    given = maps(2, 64)
    tracemalloc.start()
    bilinear_above(given, 50, 60, 0.2, Via(4096, (4096, 4096)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4096 * 4096
