"""The machine itself: how many operations per second it does in a matrix product such as a ViT-B is made of.

A fraction of this rate says how much is left to win, which milliseconds alone do not.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

# The first layer of an MLP of ViT-B at 1024 pixels: tokens, width, hidden width.
GEMM = (4096, 768, 3072)


def gemm(library: str) -> Callable[[], float]:
    """Prepare two float32 matrices, and return what multiplies them once and tells the milliseconds.

    Args:
        library: "torch" or "numpy"; each multiplies with all the threads it takes by itself.
    """
    return partial(_timed, _product(library))


def _product(library: str) -> Callable[[], object]:
    draw = np.random.default_rng(0).standard_normal
    left, right = draw(GEMM[:2], np.float32), draw(GEMM[1:], np.float32)
    out = np.empty((GEMM[0], GEMM[2]), np.float32)
    if library == "numpy":
        return partial(np.matmul, left, right, out=out)
    import torch

    return partial(torch.mm, torch.from_numpy(left), torch.from_numpy(right), out=torch.from_numpy(out))


def _timed(product: Callable[[], object]) -> float:
    start = time.perf_counter()
    product()
    return (time.perf_counter() - start) * 1e3
