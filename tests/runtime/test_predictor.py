from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.backends.base import BackendChoice, HostTensor, Tensor
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import BoxError, BundleError, DeviceMemoryError, ImageError, ParityError, UsageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.loading import decoder_choice, load
from medsam_edge.runtime.predictor import Predictor, Timings
from medsam_edge.runtime.state import CacheStatus
from medsam_edge.runtime.types import AnyArray, Boxes

Make = Callable[..., Predictor]
Open = Callable[[str], FakeBackend]
IMAGE = np.random.default_rng(7).integers(0, 256, (100, 200, 3), np.uint8)
BOX = [[120, 20, 180, 60]]


class Watched:
    """The fake backend, noting what it was asked and answering what a test wants."""

    def __init__(self, inner: FakeBackend, **planted: AnyArray) -> None:
        self.inner, self.planted = inner, planted
        self.seen: list[dict[str, tuple[int, ...]]] = []
        self.kept: list[tuple[str, ...]] = []
        self.closed = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the fake has
        return getattr(self.inner, name)

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        self.seen.append({name: tensor.shape for name, tensor in tensors.items()})
        self.kept.append(tuple(keep_on_device))
        planted = {name: HostTensor(array) for name, array in self.planted.items()}
        return self.inner.run(tensors) | planted

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def watched(fake_backend: Open) -> tuple[Watched, Watched]:
    return Watched(fake_backend("encoder")), Watched(fake_backend("decoder"))


def boxes(count: int) -> Boxes:
    low = np.random.default_rng(count).uniform((0, 0), (150, 70), (count, 2))
    return np.hstack([low, low + np.array([30, 20])]).astype(np.float32)


def corners(mask: AnyArray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_many_boxes_share_one_encoder_run_and_are_decoded_in_chunks(
    fake_predictor: Make, watched: tuple[Watched, Watched]
) -> None:
    encoder, decoder = watched
    found = fake_predictor(*watched).segment(IMAGE, boxes(125))
    assert len(encoder.seen) == 1
    assert [call["boxes"][0] for call in decoder.seen] == [16] * 7 + [13]
    assert found.masks.shape == (125, 100, 200)
    assert found.low_res_logits.shape == (125, 1, 32, 32)
    assert found.iou_predictions.shape == (125, 1)


@pytest.mark.parametrize("size", [1, 7, 16, 125])
def test_the_size_of_a_chunk_changes_nothing(fake_predictor: Make, size: int) -> None:
    found = fake_predictor(max_boxes=size).segment(IMAGE, boxes(40))
    wanted = fake_predictor().segment(IMAGE, boxes(40))
    np.testing.assert_array_equal(found.masks, wanted.masks)
    np.testing.assert_array_equal(found.low_res_logits, wanted.low_res_logits)


def test_an_embedding_is_prompted_again_without_the_encoder(
    fake_predictor: Make, watched: tuple[Watched, Watched]
) -> None:
    predictor = fake_predictor(*watched)
    embedding = predictor.embed(IMAGE)
    singles = [predictor.predict(embedding, box[None]).masks[0] for box in boxes(5)]
    np.testing.assert_array_equal(np.stack(singles), predictor.segment(IMAGE, boxes(5)).masks)
    assert len(watched[0].seen) == 2


def test_the_embedding_may_stay_on_the_device(fake_predictor: Make, watched: tuple[Watched, Watched]) -> None:
    fake_predictor(*watched).segment(IMAGE, BOX)
    assert watched[0].kept == [("image_embedding",)]


@pytest.mark.parametrize("image_hw", [(100, 200), (200, 100), (64, 64), (33, 257)])
def test_a_mask_lies_where_its_box_is_in_pixels_of_the_image(fake_predictor: Make, image_hw: tuple[int, int]) -> None:
    height, width = image_hw
    box = (0.5 * width, 0.25 * height, 0.875 * width, 0.75 * height)
    mask = fake_predictor().segment(np.zeros((*image_hw, 3), np.uint8), [box]).masks[0]
    assert mask.shape == image_hw
    reach = 1 + np.array([width, height] * 2) / 32  # half a cell of the logits and a pixel
    assert (np.abs(np.subtract(corners(mask), box)) <= reach).all()
    assert mask[height // 2, int(0.6875 * width)]


def test_gray_is_taken_and_equals_its_rgb(fake_predictor: Make) -> None:
    gray = IMAGE[:, :, 0]
    found, wanted = fake_predictor().embed(gray), fake_predictor().embed(np.stack([gray] * 3, axis=2))
    np.testing.assert_array_equal(found.tensor.numpy(), wanted.tensor.numpy())
    assert found.image_hw == (100, 200)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([[0, 0, 201, 50]], "inside its image"),
        ([[0, 0, 100, 150]], "inside its image"),
        ([[50, 0, 10, 50]], "ordered"),
        ([[10, 10, 10, 50]], "with an area"),
        ([[0, 0, np.nan, 50]], "finite"),
        ([], "at least one box"),
        ([0, 0, 10, 10], r"\(N, 4\)"),
    ],
)
def test_a_wrong_box_is_refused_before_the_encoder_runs(
    fake_predictor: Make, watched: tuple[Watched, Watched], box: list[Any], message: str
) -> None:
    with pytest.raises(BoxError, match=message):
        fake_predictor(*watched).segment(IMAGE, box)
    assert watched[0].seen == watched[1].seen == []


@pytest.mark.parametrize("image", [IMAGE.astype(np.uint16), IMAGE[:0], IMAGE[None], np.zeros((9, 9, 4), np.uint8)])
def test_a_wrong_image_is_refused_before_the_encoder_runs(
    fake_predictor: Make, watched: tuple[Watched, Watched], image: AnyArray
) -> None:
    for call in (fake_predictor(*watched).embed, lambda each: fake_predictor(*watched).segment(each, BOX)):
        with pytest.raises(ImageError):
            call(image)
    assert watched[0].seen == []


def test_boxes_are_checked_against_the_embedded_image(fake_predictor: Make) -> None:
    predictor = fake_predictor()
    embedding = predictor.embed(IMAGE[:50])
    with pytest.raises(BoxError, match="200 x 50"):
        predictor.predict(embedding, BOX)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_never_become_a_mask(fake_predictor: Make, fake_backend: Open, value: float) -> None:
    logits = np.zeros((1, 1, 32, 32), np.float32)
    logits[0, 0, 3, 4] = value
    predictor = fake_predictor(None, Watched(fake_backend("decoder"), low_res_logits=logits))
    with pytest.raises(ParityError, match="finite logits"):
        predictor.segment(IMAGE, BOX)


def test_every_stage_is_timed_and_they_add_up(fake_predictor: Make) -> None:
    found = fake_predictor().segment(IMAGE, boxes(20)).timings
    assert all(stage > 0 for stage in astuple(found))
    assert found.total_ms == pytest.approx(sum(astuple(found)))


def test_timings_hold_only_the_stages_of_their_call(fake_predictor: Make) -> None:
    predictor = fake_predictor()
    embedding = predictor.embed(IMAGE)
    assert embedding.timings.encode_ms > 0
    assert embedding.timings.decode_ms == embedding.timings.postprocess_ms == 0
    found = predictor.predict(embedding, BOX).timings
    assert found.decode_ms > 0
    assert found.preprocess_ms == found.encode_ms == 0


def test_timings_add_stage_by_stage() -> None:
    assert Timings(1, 2, 3, 4).plus(Timings(10, 20, 30, 40)) == Timings(11, 22, 33, 44)
    assert Timings(1, 2, 3, 4).total_ms == 10


def test_many_threads_get_the_masks_of_their_own_image(fake_predictor: Make) -> None:
    predictor = fake_predictor(max_boxes=4)
    work = [(np.random.default_rng(seed).integers(0, 256, (40, 60), np.uint8), boxes(9) / 4) for seed in range(24)]
    wanted = [predictor.segment(*each) for each in work]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: predictor.segment(*each), work))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.low_res_logits, other.low_res_logits)


def test_leaving_the_block_closes_both_parts(fake_predictor: Make, watched: tuple[Watched, Watched]) -> None:
    with pytest.raises(BoxError), fake_predictor(*watched) as predictor:
        predictor.segment(IMAGE, [])
    predictor.close()
    assert [part.closed for part in watched] == [2, 2]


def test_a_bundle_is_loaded_from_its_path_or_opened(tiny_bundle: Path, tiny_golden: tuple[Golden, ...]) -> None:
    for source in (tiny_bundle, str(tiny_bundle), open_bundle(tiny_bundle)):
        with load(source, "fake") as predictor:
            for case in tiny_golden:
                np.testing.assert_array_equal(predictor.segment(case.image, case.boxes).masks, case.masks)


def test_results_say_what_served_them(tiny_bundle: Path) -> None:
    graphs = {entry.part: entry.sha256 for entry in open_bundle(tiny_bundle).manifest.graphs}
    with load(tiny_bundle, "fake") as predictor:
        served = predictor.segment(IMAGE, BOX).served_by
    assert astuple(served) == ("fake", "1", "CPU", "f32", graphs, True)


def test_the_chunk_size_can_be_chosen_at_loading(tiny_bundle: Path) -> None:
    assert load(tiny_bundle, "fake", max_boxes=3).max_boxes == 3


def test_threads_reach_the_backend(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def opened(source: object, choice: Any, _: object) -> tuple[FakeBackend, CacheStatus]:  # noqa: ANN401
        asked.append(choice.threads)
        return FakeBackend(source, choice), CacheStatus("off")  # type: ignore[arg-type]

    monkeypatch.setattr("medsam_edge.runtime.loading.open_cached", opened)
    load(tiny_bundle, "fake", threads=3)
    assert asked == [3, 3]


def test_masks_that_would_exhaust_the_memory_are_refused_before_the_encoder_runs(
    fake_predictor: Callable[..., Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsam_edge.runtime.predictor.MAX_MASK_BYTES", 2 * 40 * 60)
    predictor, image, boxes = fake_predictor(), np.zeros((40, 60, 3), np.uint8), [[1, 1, 9, 9]] * 3
    with pytest.raises(DeviceMemoryError, match="3 masks of 40 x 60 pixels"):
        predictor.segment(image, boxes)
    assert predictor._encoder.calls == 0  # type: ignore[attr-defined]
    embedding = predictor.embed(image)
    with pytest.raises(DeviceMemoryError):
        predictor.predict(embedding, boxes)
    assert len(predictor.predict(embedding, boxes[:2]).masks) == 2


def test_an_iou_estimate_that_is_no_number_is_never_returned(
    fake_predictor: Callable[..., Predictor], fake_backend: Callable[[str], FakeBackend]
) -> None:
    decoder = fake_backend("decoder")
    run = decoder.run
    nan = {"iou_predictions": HostTensor(np.full((1, 1), np.nan, np.float32))}
    decoder.run = lambda tensors, keep_on_device=(): run(tensors) | nan  # type: ignore[method-assign]
    with pytest.raises(ParityError, match="IoU"):
        fake_predictor(decoder=decoder).segment(np.zeros((40, 60, 3), np.uint8), [[1, 1, 9, 9]])


def test_the_decoder_stays_in_float32_except_where_there_is_nothing_else() -> None:
    assert decoder_choice(BackendChoice("openvino", "CPU", "bf16")) == BackendChoice("openvino")
    assert decoder_choice(BackendChoice("openvino", "NPU.1", "f16")).precision == "f16"


def test_no_box_per_call_is_a_usage_error(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="max_boxes"):
        load(tiny_bundle, "fake", max_boxes=0)


@pytest.mark.parametrize(("kept", "missing"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_a_bundle_without_one_part_is_refused_and_says_what_it_has(
    tmp_path: Path, write_bundle: Callable[..., Path], kept: str, missing: str
) -> None:
    with pytest.raises(BundleError, match=f"a part {missing}; found {kept}"):
        load(write_bundle(tmp_path / "half.bundle", (), parts=(kept,)), "fake")


def test_a_graph_that_the_manifest_does_not_describe_is_refused(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    silent = replace(bundle, manifest=replace(bundle.manifest, parts=bundle.manifest.parts[:1]))
    with pytest.raises(BundleError, match="a part decoder; found encoder"):
        load(silent, "fake")


def test_an_altered_graph_is_refused_before_a_backend_sees_it(own_bundle: Path) -> None:
    graph = next((own_bundle / "graphs").iterdir())
    graph.write_bytes(b"x" + graph.read_bytes()[1:])
    with pytest.raises(BundleError, match="altered"):
        load(own_bundle, "fake")


def test_a_name_that_is_no_backend_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError):
        load(tiny_bundle, "nonsense")
