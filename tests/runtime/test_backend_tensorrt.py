"""The TensorRT backend on a fake GPU: what it computes, what it gives back, and what it says when things go wrong."""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.backends.base import HostTensor
from medsam_edge.runtime.errors import (
    BackendError,
    BundleError,
    DeviceLostError,
    DeviceMemoryError,
    EngineError,
    UsageError,
)

Loose = Any  # a module beside the tests, or what it makes

SIDE, GRID = 32, 4
MakeWorld = Callable[..., Any]


@pytest.fixture(params=[False, True], ids=["with its own memory", "sharing memory"])
def world(request: pytest.FixtureRequest, make_world: MakeWorld) -> Loose:
    return make_world(request.param)


@pytest.fixture
def prompts(scenes: Loose) -> dict[str, Any]:
    embedding = np.random.default_rng(4).normal(size=(1, 256, GRID, GRID)).astype(np.float32)
    tensors: dict[str, Any] = scenes.hosted({"image_embedding": embedding, "boxes": scenes.boxes(3, SIDE)})
    return tensors


def test_a_day_at_the_scanner_is_right_and_leaves_nothing(world: Loose, scenes: Loose) -> None:
    scenes.day(world, SIDE)


def test_ten_thousand_runs_take_no_more_memory_than_ten(make_world: MakeWorld, scenes: Loose) -> None:
    world = make_world()
    encoder, decoder = world.open("encoder"), world.open("decoder")
    pixels, prompts = scenes.hosted(scenes.image(1, SIDE)), HostTensor(scenes.boxes(1, SIDE))
    for index in range(5_000):
        embedding = encoder.run(pixels, keep_on_device=["image_embedding"])["image_embedding"]
        decoder.run({"image_embedding": embedding, "boxes": prompts})
        if index == 10:
            taken = (len(world.gpu.memory), len(world.gpu.pinned), len(world.gpu.graphs))
    assert (len(world.gpu.memory), len(world.gpu.pinned), len(world.gpu.graphs)) == taken
    encoder.close()
    decoder.close()
    assert world.gpu.left() == {}


def test_a_gpu_that_shares_memory_copies_nothing_but_the_embedding(make_world: MakeWorld, scenes: Loose) -> None:
    world = make_world(integrated=True)
    with_copies = make_world()
    for one in (world, with_copies):
        encoder, decoder = one.open("encoder"), one.open("decoder")
        embedding = encoder.run(scenes.hosted(scenes.image(1, SIDE)), ["image_embedding"])["image_embedding"]
        decoder.run({"image_embedding": embedding, "boxes": HostTensor(scenes.boxes(2, SIDE))})
    assert (world.gpu.calls["upload"], world.gpu.calls["download"], world.gpu.calls["copy"]) == (0, 0, 2)
    assert (with_copies.gpu.calls["upload"], with_copies.gpu.calls["download"]) == (2, 2)


def test_each_profile_has_a_graph_and_runs_are_launched(world: Loose, scenes: Loose, prompts: dict[str, Any]) -> None:
    decoder = world.open("decoder")
    for count in (1, 2, 3, 4, 9, 16):
        decoder.run({**prompts, "boxes": HostTensor(scenes.boxes(count, SIDE))})
    assert (len(world.gpu.graphs), world.gpu.calls["launch"]) == (3, 6)


def test_a_driver_without_graphs_runs_without_them(world: Loose, scenes: Loose) -> None:
    encoder = world.open("encoder")
    world.gpu.fault = ("begin_capture", RuntimeError("not supported"))
    for seed in (1, 2):
        pixels = scenes.image(seed, SIDE)
        scenes.equal(encoder.run(scenes.hosted(pixels)), world.wanted("encoder", pixels))
    assert world.gpu.calls["launch"] == 0


def test_outputs_are_the_callers_own_after_closing(world: Loose, scenes: Loose, prompts: dict[str, Any]) -> None:
    decoder = world.open("decoder")
    first = decoder.run(prompts)["low_res_logits"].numpy()
    kept = first.copy()
    decoder.run({**prompts, "boxes": HostTensor(scenes.boxes(4, SIDE))})
    decoder.close()
    decoder.close()
    np.testing.assert_array_equal(first, kept)


def test_a_tensor_on_the_gpu_says_when_its_backend_is_closed(world: Loose, scenes: Loose) -> None:
    encoder = world.open("encoder")
    embedding = encoder.run(scenes.hosted(scenes.image(1, SIDE)), ["image_embedding"])["image_embedding"]
    assert (embedding.shape, embedding.dtype) == ((1, 256, GRID, GRID), "float32")
    encoder.close()
    with pytest.raises(UsageError, match="whose backend was closed"):
        embedding.numpy()
    del embedding
    gc.collect()
    assert world.gpu.left() == {}


def test_eight_threads_at_once_get_their_own_answers(world: Loose, scenes: Loose) -> None:
    encoder = world.open("encoder")

    def embed(seed: int) -> None:
        pixels = scenes.image(seed, SIDE)
        tensor = encoder.run(scenes.hosted(pixels), ["image_embedding"])["image_embedding"]
        np.testing.assert_array_equal(tensor.numpy(), world.wanted("encoder", pixels)["image_embedding"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(embed, range(40)))


@pytest.mark.parametrize("count", [0, 17])
def test_boxes_beyond_the_profiles_are_refused_with_the_largest(
    world: Loose,
    scenes: Loose,
    prompts: dict[str, Any],
    count: int,
) -> None:
    decoder = world.open("decoder")
    assert decoder.max_boxes == 16
    with pytest.raises(UsageError, match=rf"1 to 16 boxes, as the engine has profiles for; found {count}"):
        decoder.run({**prompts, "boxes": HostTensor(scenes.boxes(count, SIDE))})


def test_wrong_tensors_are_refused_before_the_library_sees_them(world: Loose, prompts: dict[str, Any]) -> None:
    decoder = world.open("decoder")
    with pytest.raises(UsageError, match="found float64"):
        decoder.run({**prompts, "boxes": HostTensor(np.zeros((1, 4)))})
    with pytest.raises(UsageError, match="the inputs image_embedding, boxes"):
        decoder.run({})


@pytest.mark.parametrize("plan", [b"", b"deco", b"an engine of another device"])
def test_what_the_library_does_not_load_is_a_foreign_engine(world: Loose, plan: bytes) -> None:
    with pytest.raises(EngineError, match="Magic tag mismatch") as caught:
        world.open("decoder", plan or b"\0")
    assert "medsam-edge build" in caught.value.remedy
    assert world.gpu.left() == {}


def test_an_engine_with_other_tensors_than_its_graph_is_refused(world: Loose) -> None:
    world.built = world.parts["encoder"]
    with pytest.raises(BundleError, match="the inputs image_embedding, boxes"):
        world.open("decoder")
    assert world.gpu.left() == {}


def test_memory_that_runs_out_in_the_middle_of_a_stream_is_told_and_mended(world: Loose, scenes: Loose) -> None:
    encoder = world.open("encoder")
    pixels, held = scenes.hosted(scenes.image(1, SIDE)), []
    held.append(encoder.run(pixels, ["image_embedding"]))
    world.gpu.limit = world.gpu.used()
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        encoder.run(pixels, ["image_embedding"])
    gc.collect()
    held.clear()  # the caller lets go of an embedding, whose memory serves the next
    again = encoder.run(pixels, ["image_embedding"])["image_embedding"]
    np.testing.assert_array_equal(again.numpy(), world.wanted("encoder", scenes.image(1, SIDE))["image_embedding"])


@pytest.mark.parametrize("code", [700, 719])
def test_a_fault_that_cuda_keeps_is_told_at_every_later_call_and_closing_is_quiet(
    world: Loose,
    scenes: Loose,
    code: int,
) -> None:
    encoder = world.open("encoder")
    encoder.run(scenes.hosted(scenes.image(1, SIDE)))
    world.gpu.fault = ("launch", world.fakes.CudaFaultError(code, "cuGraphLaunch failed"))
    for _ in range(2):
        with pytest.raises(DeviceLostError, match="start the program again"):
            encoder.run(scenes.hosted(scenes.image(1, SIDE)))
    world.gpu.fault = ("free_graph", world.fakes.CudaFaultError(code, "cuGraphExecDestroy failed"))
    encoder.close()


def test_a_run_that_the_library_refuses_is_an_error_with_its_message(world: Loose, scenes: Loose) -> None:
    encoder = world.open("encoder")
    world.engines[-1].fails = [True]
    with pytest.raises(BackendError, match="TensorRT to run"):
        encoder.run(scenes.hosted(scenes.image(1, SIDE)))


def test_the_precision_is_that_of_the_graph(world: Loose) -> None:
    assert world.open("encoder").precision == "f16"
