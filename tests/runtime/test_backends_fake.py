from collections.abc import Callable

import numpy as np
import pytest
from medsam_edge.runtime.backends.base import HostTensor
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.types import AnyArray

Open = Callable[[str], FakeBackend]
EMBEDDING = np.zeros((1, 256, 8, 8), np.float32)
BOX = np.array([[8, 16, 40, 56]], np.float32)


def feeds(**arrays: AnyArray) -> dict[str, HostTensor]:
    return {name: HostTensor(array) for name, array in arrays.items()}


def run(backend: FakeBackend, **arrays: AnyArray) -> dict[str, AnyArray]:
    return {name: tensor.numpy() for name, tensor in backend.run(feeds(**arrays)).items()}


def test_outputs_have_the_names_shapes_and_types_that_are_promised(fake_backend: Open) -> None:
    encoder, decoder = fake_backend("encoder"), fake_backend("decoder")
    found = run(encoder, image=np.zeros((1, 3, 64, 64), np.uint8))
    found |= run(decoder, image_embedding=EMBEDDING, boxes=np.repeat(BOX, 5, axis=0))
    for spec in (*encoder.outputs, *decoder.outputs):
        shape = tuple(5 if size == "N" else size for size in spec.shape)
        assert (found[spec.name].shape, str(found[spec.name].dtype)) == (shape, spec.dtype)


def test_the_encoder_sees_where_the_image_is_bright(fake_backend: Open) -> None:
    image = np.zeros((1, 3, 64, 64), np.uint8)
    image[0, 0, :8, 56:] = 255
    embedding = run(fake_backend("encoder"), image=image)["image_embedding"]
    assert embedding[0, 0, 0, 7] == 1
    assert embedding[0, 0].sum() == 1
    assert not embedding[0, 1].any()


def test_the_decoder_draws_the_ellipse_inside_the_box(fake_backend: Open) -> None:
    logits = run(fake_backend("decoder"), image_embedding=EMBEDDING, boxes=BOX)["low_res_logits"][0, 0]
    rows, columns = np.nonzero(logits > 0)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == tuple(BOX[0] / 2)
    assert logits[18, 12] > 7  # its centre
    assert logits[8, 4] < 0  # the corner of the box


def test_the_decoder_depends_on_the_embedding(fake_backend: Open) -> None:
    one, other = (
        run(fake_backend("decoder"), image_embedding=EMBEDDING + add, boxes=BOX)["low_res_logits"]
        for add in (np.float32(0), np.float32(1))
    )
    assert (one != other).any()


def test_calls_are_counted(fake_backend: Open) -> None:
    encoder = fake_backend("encoder")
    for _ in range(3):
        run(encoder, image=np.zeros((1, 3, 64, 64), np.uint8))
    encoder.close()
    encoder.close()
    assert encoder.calls == 3


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({}, "none"),
        ({"boxes": BOX}, "boxes"),
        ({"image_embedding": EMBEDDING, "boxes": BOX, "image": BOX}, "image_embedding, boxes, image"),
    ],
)
def test_tensors_too_few_or_too_many_are_refused_by_name(
    fake_backend: Open, arrays: dict[str, AnyArray], found: str
) -> None:
    with pytest.raises(UsageError, match="the inputs image_embedding, boxes") as caught:
        fake_backend("decoder").run(feeds(**arrays))
    assert caught.value.found == found


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        (BOX.astype(np.float64), r"float64 \[1, 4\]"),
        (BOX.astype(np.int32), r"int32 \[1, 4\]"),
        (BOX[:, :3], r"float32 \[1, 3\]"),
        (BOX[0], r"float32 \[4\]"),
        (BOX[None], r"float32 \[1, 1, 4\]"),
    ],
)
def test_a_tensor_of_another_type_or_shape_is_refused(fake_backend: Open, boxes: AnyArray, found: str) -> None:
    with pytest.raises(UsageError, match=rf"boxes as float32 \['N', 4\]; found {found}"):
        fake_backend("decoder").run(feeds(image_embedding=EMBEDDING, boxes=boxes))


def test_a_tensor_that_is_not_contiguous_is_taken(fake_backend: Open) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8).transpose(2, 0, 1)[None]
    assert not image.flags.c_contiguous
    found, wanted = (run(fake_backend("encoder"), image=each) for each in (image, np.ascontiguousarray(image)))
    np.testing.assert_array_equal(found["image_embedding"], wanted["image_embedding"])
