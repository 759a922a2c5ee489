"""Boxes become tokens by a formula that is short enough to be written twice."""

import math

import numpy as np
import torch
from medsam_edge.export.models.sam import Sam
from numpy.typing import NDArray


def fourier(matrix: torch.Tensor, x: float, y: float) -> NDArray[np.float64]:
    """Features of a point in the unit square, in double precision."""
    phase = 2 * math.pi * (np.array([2 * x - 1, 2 * y - 1]) @ matrix.double().numpy())
    return np.concatenate([np.sin(phase), np.cos(phase)])


def test_a_corner_is_its_pixels_centre_in_fourier_features_plus_its_kind(sam: Sam) -> None:
    encoder = sam.prompt_encoder
    tokens = encoder(torch.tensor([[3.0, 10.25, 40.0, 63.0]]))[0].numpy()
    matrix = encoder.pe_layer.positional_encoding_gaussian_matrix
    kinds = [encoder.point_embeddings[index].get_parameter("weight")[0].numpy() for index in (2, 3)]
    for token, kind, (x, y) in zip(tokens, kinds, [(3.0, 10.25), (40.0, 63.0)], strict=True):
        expected = fourier(matrix, (x + 0.5) / 64, (y + 0.5) / 64) + kind
        np.testing.assert_allclose(token, expected, atol=2e-5)


def test_the_grid_runs_row_by_row_over_cell_centres(sam: Sam) -> None:
    layer = sam.prompt_encoder.pe_layer
    features = layer.grid(8)
    expected = fourier(layer.positional_encoding_gaussian_matrix, (6 + 0.5) / 8, (1 + 0.5) / 8)
    np.testing.assert_allclose(features[1 * 8 + 6].numpy(), expected, atol=2e-5)
