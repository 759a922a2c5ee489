"""Every profile through the whole predictor, with a backend that draws ellipses."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.backends.base import HostTensor, Tensor
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.boxes import box_fill
from medsam_edge.runtime.metrics import dice
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.profile import VOCABULARY, profile_named
from medsam_edge.runtime.types import AnyArray

Make = Callable[..., Predictor]
IMAGE = np.random.default_rng(7).integers(0, 256, (60, 150, 3), np.uint8)
BOX = [[30, 10, 110, 50]]


@pytest.fixture(params=VOCABULARY["name"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Blank:
    """The fake decoder, finding nothing in any box."""

    def __init__(self, inner: FakeBackend) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the fake has
        return getattr(self.inner, name)

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        found = self.inner.run(tensors)
        below = -np.abs(found["low_res_logits"].numpy()) - np.float32(0.01)
        return {**found, "low_res_logits": HostTensor(below)}


def ellipse(box: list[float], image_hw: tuple[int, int]) -> AnyArray:
    """What the fake decoder means by a box."""
    x_min, y_min, x_max, y_max = box
    y, x = np.mgrid[: image_hw[0], : image_hw[1]] + 0.5
    across, down = (2 * x - x_min - x_max) / (x_max - x_min), (2 * y - y_min - y_max) / (y_max - y_min)
    inside: AnyArray = across**2 + down**2 < 1
    return inside


@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
def test_a_mask_lies_where_its_box_is_on_an_image_that_is_not_square(
    fake_predictor: Make, profile: str, turned: bool
) -> None:
    image, box = (IMAGE.transpose(1, 0, 2), [10, 30, 50, 110]) if turned else (IMAGE, BOX[0])
    (mask,) = fake_predictor(profile=profile).segment(image, [box]).masks
    assert mask.shape == image.shape[:2]
    assert dice(mask, ellipse(box, mask.shape)) > 0.9
    assert dice(mask, box_fill(box, mask.shape)) < 0.95


def test_gray_equals_its_rgb(fake_predictor: Make, profile: str) -> None:
    predictor, gray = fake_predictor(profile=profile), IMAGE[:, :, 0]
    found, wanted = (predictor.segment(image, BOX) for image in (gray, np.stack([gray] * 3, axis=2)))
    np.testing.assert_array_equal(found.low_res_logits, wanted.low_res_logits)
    np.testing.assert_array_equal(found.masks, wanted.masks)
    embedding = predictor.embed(gray).tensor.numpy()
    assert not np.array_equal(embedding, predictor.embed(IMAGE).tensor.numpy())


def test_three_hundred_boxes_are_three_hundred_times_one(fake_predictor: Make, profile: str) -> None:
    low = np.random.default_rng(3).uniform((0, 0), (120, 40), (300, 2))
    boxes = np.hstack([low, low + np.array([25, 15])]).astype(np.float32)
    predictor = fake_predictor(profile=profile)
    embedding = predictor.embed(IMAGE)
    found = predictor.predict(embedding, boxes)
    assert (found.masks.shape, found.iou_predictions.shape) == ((300, 60, 150), (300, 1))
    for index in (0, 15, 16, 255, 256, 299):
        np.testing.assert_array_equal(found.masks[index], predictor.predict(embedding, boxes[index, None]).masks[0])
    assert found.masks.any(axis=(1, 2)).all()


def test_logits_below_zero_are_an_empty_mask(fake_predictor: Make, fake_backend: Any, profile: str) -> None:  # noqa: ANN401
    decoder = Blank(fake_backend("decoder"))
    found = fake_predictor(decoder=decoder, profile=profile).segment(IMAGE, BOX * 3)
    assert found.masks.shape == (3, 60, 150)
    assert not found.masks.any()


def test_the_encoder_is_told_where_the_image_ends_if_it_has_to_know(fake_predictor: Make, profile: str) -> None:
    predictor, seen = fake_predictor(profile=profile), []
    run = predictor._encoder.run

    def watched(tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        seen.append({name: tensor.numpy() for name, tensor in tensors.items()})
        return run(tensors, keep_on_device)

    predictor._encoder.run = watched  # type: ignore[method-assign]
    predictor.embed(IMAGE)
    (inputs,) = seen
    if profile_named(profile, 64).takes_valid_hw:
        assert (inputs["valid_hw"].dtype, inputs["valid_hw"].tolist()) == (np.int32, [26, 64])
    else:
        assert set(inputs) == {"image"}
