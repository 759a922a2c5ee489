"""Volumes of every format, and a model that draws what the reference holds inside a box."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from medsam_edge.runtime.predictor import Prediction, Predictor, Timings
from medsam_edge.runtime.types import AnyArray
from medsam_edge.runtime.volumes.challenge import ChallengeForm
from medsam_edge.runtime.volumes.volume import Geometry, Volume

OBLIQUE = np.array(
    [[-1.4, 0.3, 0.2, 91.25], [0.31, 1.2, -0.4, -120.1], [0.1, 0.35, 2.9, 33.3], [0, 0, 0, 1]], np.float64
)


class Oracle(Predictor):
    """Draws the reference inside each box; what it encodes is the number of the slice that an image carries.

    Attributes:
        encoded: The slices that were encoded, in their order.
        asked: Slice and box of each mask.
        empty: Slices on which it sees nothing.
    """

    def __init__(self, likeness: Predictor, reference: AnyArray, empty: Sequence[int] = ()) -> None:
        super().__init__(likeness.profile, likeness._encoder, likeness._decoder, likeness.served_by)
        self.reference, self.empty = reference, empty
        self.encoded: list[int] = []
        self.asked: list[tuple[int, tuple[float, ...]]] = []

    def embed(self, image: AnyArray) -> Any:  # noqa: ANN401
        index = int(image[0, 0])
        self.encoded.append(index)
        return SimpleNamespace(index=index, tensor=np.zeros((1, 256, 8, 8), np.float32), timings=Timings(encode_ms=1.0))

    def predict(self, embedding: Any, boxes: npt.ArrayLike) -> Prediction:  # noqa: ANN401
        masks = [self._mask(embedding.index, box) for box in np.asarray(boxes)]
        self.asked += [(embedding.index, tuple(box.tolist())) for box in np.asarray(boxes)]
        none = np.zeros((len(masks), 1), np.float32)
        return Prediction(np.stack(masks), none, none, Timings(decode_ms=1.0), self.served_by)

    def _mask(self, index: int, box: AnyArray) -> AnyArray:
        x_min, y_min, x_max, y_max = box
        rows, columns = np.indices(self.reference.shape[1:])
        inside = (rows >= y_min) & (rows <= y_max) & (columns >= x_min) & (columns <= x_max)
        return inside & (self.reference[index] > 0) & (index not in self.empty)


def numbered(shape: tuple[int, int, int]) -> AnyArray:
    """Voxels whose first pixel on each slice is the slice's number."""
    voxels = np.random.default_rng(5).integers(0, 200, shape, np.uint8)
    voxels[:, 0, 0] = np.arange(shape[0])
    return voxels


def _volume(voxels: AnyArray, affine: AnyArray | None = None, space: str = "RAS", **others: Any) -> Volume:  # noqa: ANN401
    geometry = Geometry(np.eye(4) if affine is None else affine, space)
    return Volume(voxels, geometry, ChallengeForm(None), **others)


@pytest.fixture
def volume_of() -> Callable[..., Volume]:
    """Make a volume: `(voxels, affine, space, modality=…, rescale=…)`."""
    return _volume


@pytest.fixture
def oracle(fake_predictor: Callable[..., Predictor]) -> Callable[..., Oracle]:
    """Make a predictor that knows the answer: `(reference, empty)`."""
    return lambda reference, empty=(): Oracle(fake_predictor(), reference, empty)


@pytest.fixture
def save_nifti(tmp_path: Path) -> Callable[..., Path]:
    """Write a NIfTI file with nibabel: `(name, voxels (D, H, W), affine, kind=…, header=…)`; header fields are set."""
    nibabel = pytest.importorskip("nibabel")

    def save(
        name: str,
        voxels: AnyArray,
        affine: AnyArray | None = OBLIQUE,
        kind: str = "Nifti1Image",
        **header: Any,  # noqa: ANN401
    ) -> Path:
        image = getattr(nibabel, kind)(voxels.transpose(range(voxels.ndim)[::-1]), affine)
        for field, value in header.items():
            image.header[field] = value
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return save
