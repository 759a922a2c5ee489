"""TinyViT as SAM's image encoder, once more: an oracle written apart from the exported model.

Sources: the TinyViT paper (Wu et al. 2022, arXiv 2207.10666), SAM's neck (Kirillov et al. 2023) and the tensors' names
in the authors' checkpoints. Plain arithmetic on the authors' state dict: no modules, no fused kernels, one window at a
time. Slow on purpose where that makes a step easier to check by eye.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]

# The authors do not halve the grid on the way into the last stage, and they know that stage by its width: one each
# for the 5M, 11M and 21M models (the two wider ones are from memory). Any other width is merged with stride 2.
UNHALVED_WIDTHS = (320, 448, 576)


def tiny_vit(
    state: State,
    image: Tensor,
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    heads: Sequence[int],
    windows: Sequence[int],
) -> Tensor:
    """Embed a normalised image (B, 3, S, S); `state` has the authors' names without the prefix `image_encoder.`.

    `heads[0]` and `windows[0]` are unused: the first stage is convolutional. The classifier's `norm_head` and `head`,
    which the authors' checkpoints may still carry, are ignored.
    """
    grid = patch_embedding(state, image)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            if stage == 0:
                grid = inverted_bottleneck(state, name, grid)
            else:
                grid = transformer_block(state, name, grid, heads[stage], windows[stage])
        if stage + 1 < len(depths):
            grid = merging(state, f"layers.{stage}.downsample", grid, widths[stage + 1])
        expected = widths[min(stage + 1, len(widths) - 1)]
        assert grid.shape[1] == expected, f"stage {stage} ends {grid.shape[1]} wide, not {expected}"
    return neck(state, grid)


def patch_embedding(state: State, image: Tensor) -> Tensor:
    # LiteMedSAM: 1 x 1 at stride 1. MobileSAM, as in the paper: 3 x 3 at stride 2.
    stride = {1: 1, 3: 2}[state["patch_embed.seq.0.c.weight"].shape[-1]]
    grid = gelu(convolution_and_norm(state, "patch_embed.seq.0", image, stride))
    return convolution_and_norm(state, "patch_embed.seq.2", grid, stride)


def inverted_bottleneck(state: State, name: str, grid: Tensor) -> Tensor:
    hidden = gelu(convolution_and_norm(state, f"{name}.conv1", grid))
    hidden = gelu(convolution_and_norm(state, f"{name}.conv2", hidden))
    # The last activation comes after the addition, not before it.
    return gelu(grid + convolution_and_norm(state, f"{name}.conv3", hidden))


def merging(state: State, name: str, grid: Tensor, next_width: int) -> Tensor:
    stride = 1 if next_width in UNHALVED_WIDTHS else 2
    grid = gelu(convolution_and_norm(state, f"{name}.conv1", grid))
    grid = gelu(convolution_and_norm(state, f"{name}.conv2", grid, stride))
    return convolution_and_norm(state, f"{name}.conv3", grid)


def transformer_block(state: State, name: str, grid: Tensor, heads: int, window: int) -> Tensor:
    grid = grid + windowed_attention(state, f"{name}.attn", grid, heads, window)
    grid = convolution_and_norm(state, f"{name}.local_conv", grid)
    tokens = grid.permute(0, 2, 3, 1)
    hidden = layer_norm(state, f"{name}.mlp.norm", tokens, 1e-5)
    hidden = affine(state, f"{name}.mlp.fc2", gelu(affine(state, f"{name}.mlp.fc1", hidden)))
    return (tokens + hidden).permute(0, 3, 1, 2)


def windowed_attention(state: State, name: str, grid: Tensor, heads: int, window: int) -> Tensor:
    batch, width, height, length = grid.shape
    rows, columns = math.ceil(height / window), math.ceil(length / window)
    # Zeros on the right and at the bottom. Nothing masks them: after the norm they are its bias, and they are attended.
    whole = grid.new_zeros(batch, width, rows * window, columns * window)
    whole[:, :, :height, :length] = grid
    result = torch.empty_like(whole)
    for row, column in product(range(rows), range(columns)):
        here = (..., slice(row * window, (row + 1) * window), slice(column * window, (column + 1) * window))
        tokens = whole[here].reshape(batch, width, window * window).transpose(1, 2)
        attended = attention(state, name, tokens, heads, window)
        result[here] = attended.transpose(1, 2).reshape(batch, width, window, window)
    return result[:, :, :height, :length]


def attention(state: State, name: str, tokens: Tensor, heads: int, window: int) -> Tensor:
    """Attend among all tokens (B, window * window, width) of one window, one head after the other."""
    size = tokens.shape[-1] // heads
    biases = state[f"{name}.attention_biases"]
    offsets, distinct = offset_index(window)
    assert biases.shape == (heads, distinct), f"{name}.attention_biases is {tuple(biases.shape)}"
    projected = affine(state, f"{name}.qkv", layer_norm(state, f"{name}.norm", tokens, 1e-5))
    outputs = []
    for head in range(heads):
        # A head's query, key and value lie side by side; then comes the next head's.
        start = 3 * size * head
        query, key, value = (projected[..., start + part * size : start + (part + 1) * size] for part in range(3))
        scores = torch.einsum("bqd,bkd->bqk", query, key) / math.sqrt(size) + biases[head][offsets]
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        weights = weights / weights.sum(dim=-1, keepdim=True)
        outputs.append(torch.einsum("bqk,bkd->bqd", weights, value))
    return affine(state, f"{name}.proj", torch.cat(outputs, dim=-1))


def offset_index(window: int) -> tuple[Tensor, int]:
    """Say which learned bias each pair of a window's points has, and how many biases there are."""
    points = list(product(range(window), repeat=2))
    index: dict[tuple[int, int], int] = {}
    pairs = []
    for first, second in product(points, points):
        offset = (abs(first[0] - second[0]), abs(first[1] - second[1]))
        pairs.append(index.setdefault(offset, len(index)))
    return torch.tensor(pairs).reshape(len(points), len(points)), len(index)


def neck(state: State, grid: Tensor) -> Tensor:
    for convolution, norm in (("neck.0", "neck.1"), ("neck.2", "neck.3")):
        grid = convolve(state[f"{convolution}.weight"], grid)
        # SAM's LayerNorm2d: over the channels of each place.
        grid = layer_norm(state, norm, grid.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)
    return grid


def convolution_and_norm(state: State, name: str, grid: Tensor, stride: int = 1) -> Tensor:
    grid = convolve(state[f"{name}.c.weight"], grid, stride)
    weight, bias, mean, variance = (
        state[f"{name}.bn.{key}"].reshape(1, -1, 1, 1) for key in ("weight", "bias", "running_mean", "running_var")
    )
    return (grid - mean) / (variance + 1e-5).sqrt() * weight + bias


def convolve(weight: Tensor, grid: Tensor, stride: int = 1) -> Tensor:
    """Convolve with zeros half a kernel wide around the grid, as a sum over the kernel's places.

    A kernel with one input channel is depthwise: no convolution here has an input of one channel.
    """
    kernel = weight.shape[-1]
    around = kernel // 2
    padded = F.pad(grid, (around, around, around, around))
    tall, wide = ((side + 2 * around - kernel) // stride + 1 for side in grid.shape[-2:])
    result = grid.new_zeros(grid.shape[0], weight.shape[0], tall, wide)
    for y, x in product(range(kernel), repeat=2):
        seen = padded[:, :, y : y + stride * (tall - 1) + 1 : stride, x : x + stride * (wide - 1) + 1 : stride]
        if weight.shape[1] == 1:
            assert weight.shape[0] == grid.shape[1]
            result += seen * weight[:, 0, y, x].reshape(1, -1, 1, 1)
        else:
            result += torch.einsum("oi,bihw->bohw", weight[:, :, y, x], seen)
    return result


def affine(state: State, name: str, tokens: Tensor) -> Tensor:
    return torch.einsum("...i,oi->...o", tokens, state[f"{name}.weight"]) + state[f"{name}.bias"]


def layer_norm(state: State, name: str, tokens: Tensor, epsilon: float) -> Tensor:
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + epsilon).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(grid: Tensor) -> Tensor:
    return 0.5 * grid * (1 + torch.erf(grid / math.sqrt(2)))
