"""Opens the TensorRT backend on the fake GPU, and walks it through a day at the scanner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from medsam_edge.runtime.backends.base import BackendChoice, GraphSource, HostTensor
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.engines.census import Census
from medsam_edge.runtime.engines.engine_file import EngineFacts
from medsam_edge.runtime.errors import BackendError, DeviceMemoryError
from medsam_edge.runtime.manifest import PartSpec
from medsam_edge.runtime.types import AnyArray

Loose = Any  # a module beside the tests, or what it makes

CHOICE = BackendChoice("tensorrt", "GPU", "f16", graph="fp16")
SIZES = (1, 4, 16)


def facts(part: str) -> EngineFacts:
    sizes = SIZES if part == "decoder" else (1,)
    return EngineFacts(part, "fp16", sizes, (), Census(1, {"fp16": 1}, 0), (), None, 0, None, 1.0, 3, 1 << 30, ())


@dataclass
class World:
    """A GPU, the parts of a model, and what to make a backend with."""

    fakes: Any
    parts: dict[str, PartSpec]
    integrated: bool = False
    gpu: Any = None
    engines: list[Any] = field(default_factory=list)
    built: PartSpec | None = None  # what an engine was built from, if that is something else

    def __post_init__(self) -> None:
        self.gpu = self.fakes.FakeGpu()

    def open(self, part: str, plan: bytes | None = None) -> Loose:
        spec = self.parts[part]
        sizes = SIZES if "N" in [side for one in spec.inputs for side in one.shape] else (1,)

        def make() -> Loose:
            self.engines.append(self.fakes.FakeEngine(self.gpu, self.built or spec, sizes))
            return self.engines[-1]

        trt = self.fakes.fake_trt(self.gpu, {part.encode(): make})
        module = import_module("medsam_edge.runtime.backends.tensorrt")
        source = GraphSource(Path(f"{part}.onnx"), spec, "0" * 64)
        memory = self.fakes.FakeMemory(self.gpu, self.integrated)
        return module.TensorRtBackend(source, CHOICE, trt, memory, facts(part), memoryview(plan or part.encode()))

    def wanted(self, part: str, tensors: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """The answer, by the same arithmetic on the host."""
        backend = FakeBackend(GraphSource(Path("fake.onnx"), self.parts[part], ""), BackendChoice("fake"))
        return {name: one.numpy() for name, one in backend.run(hosted(tensors)).items()}


def hosted(tensors: dict[str, AnyArray]) -> dict[str, Any]:
    return {name: HostTensor(array) for name, array in tensors.items()}


def image(seed: int, side: int) -> dict[str, AnyArray]:
    return {"image": np.random.default_rng(seed).integers(0, 256, (1, 3, side, side), np.uint8)}


def boxes(count: int, side: int) -> AnyArray:
    corners = np.random.default_rng(count).uniform(0, side / 2, (count, 2))
    return np.concatenate([corners, corners + side / 3], axis=1).astype(np.float32)


def equal(found: dict[str, Any], wanted: dict[str, AnyArray]) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name].numpy(), array, strict=True)


def day(world: World, side: int, counts: Sequence[int] = (1, 3, 4, 16, 2)) -> None:
    """Everything that a backend is asked in its life, and that nothing is left afterwards."""
    encoder, decoder = world.open("encoder"), world.open("decoder")
    held = None
    for seed in (1, 2):
        pixels = image(seed, side)
        wanted = world.wanted("encoder", pixels)["image_embedding"]
        embedding = encoder.run(hosted(pixels), keep_on_device=["image_embedding"])["image_embedding"]
        for count in counts:
            prompts = boxes(count, side)
            answer = world.wanted("decoder", {"image_embedding": wanted, "boxes": prompts})
            for given in (embedding, HostTensor(wanted)):
                equal(decoder.run({"image_embedding": given, "boxes": HostTensor(prompts)}), answer)
        equal(encoder.run(hosted(pixels)), {"image_embedding": wanted})
        np.testing.assert_array_equal(embedding.numpy(), wanted)
        held = held or (embedding, wanted)
    assert held
    np.testing.assert_array_equal(held[0].numpy(), held[1])  # a later image changed nothing
    assert encoder.profile(hosted(image(1, side))) == [("everything", 1.5)]
    mishaps(world, side)
    encoder.close()
    decoder.close()
    assert world.gpu.left() == {}, world.gpu.left()


def mishaps(world: World, side: int) -> None:
    """What goes wrong in the middle leaves nothing behind and spoils nothing."""
    limit, world.gpu.limit = world.gpu.limit, world.gpu.used() + 9000
    raises(DeviceMemoryError, lambda: world.open("encoder"))
    world.gpu.limit = limit
    encoder = world.open("encoder")
    world.engines[-1].fails = [False, True]  # the run that is recorded
    raises(BackendError, lambda: encoder.run(hosted(image(1, side))))
    equal(encoder.run(hosted(image(3, side))), world.wanted("encoder", image(3, side)))
    encoder.close()
    encoder = world.open("encoder")
    world.gpu.fault = ("begin_capture", RuntimeError("a driver without graphs"))
    for seed in (3, 4):
        equal(encoder.run(hosted(image(seed, side))), world.wanted("encoder", image(seed, side)))
    encoder.close()


def raises(kind: type[Exception], doing: Callable[[], object]) -> None:
    try:
        doing()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")
