"""Whose engine it is, and whether it is used again: a bundle built and opened on a made-up device.

The builder's child is replaced by a function that writes what a build writes; everything else is the real thing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.benchmarks import building
from medsam_edge.runtime import load
from medsam_edge.runtime.backends import device_memory
from medsam_edge.runtime.backends import tensorrt as backend_module
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.contract import decoder_part, encoder_part
from medsam_edge.runtime.engines import build as build_module
from medsam_edge.runtime.engines import identity
from medsam_edge.runtime.engines.build import Request, build_engines, commands
from medsam_edge.runtime.engines.builder import Order
from medsam_edge.runtime.engines.census import Census
from medsam_edge.runtime.engines.engine_file import EngineFacts, Port, header
from medsam_edge.runtime.engines.gpu import Gpu
from medsam_edge.runtime.engines.options import GIB
from medsam_edge.runtime.errors import BundleError, DriverError, EngineError, UsageError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.manifest import Model
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.state import StateFolder
from medsam_edge.runtime.store import BundleWriter
from medsam_edge.runtime.stored import bundle_state

Loose = Any  # a module beside the tests, or what it makes
ORIN = Gpu("Orin", "8.7", 7 * GIB, True, "12.6")
SIDE, GRID = 64, 8
PARTS = {"encoder": encoder_part(SIDE, GRID), "decoder": decoder_part(GRID)}
IMAGE = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
BOXES = [[3, 4, 40, 30], [10, 10, 60, 45]]


@pytest.fixture
def bundle(tmp_path: Path, tiny_golden: tuple[Golden, ...]) -> Path:
    with BundleWriter(tmp_path / "t.bundle") as writer:
        for part in PARTS:
            for precision in ("fp32", "fp16"):
                data = f"{part} {precision}".encode()
                writer.add_graph(data, part=part, precision=precision, form="concat", targets=("tensorrt",))
        for case in tiny_golden:
            writer.add_golden(case)
        writer.commit(
            model=Model("tiny", "sam_vit", {}, "1" * 64, True, "tiny.pth", "2" * 64),
            profile=medsam(SIDE).to_dict(),
            pipeline=["encoder", "decoder"],
            parts=list(PARTS.values()),
            embedding_size=GRID,
        )
    return tmp_path / "t.bundle"


class Device:
    """What the machine is, to be changed by a test; `orders` are the builds that were asked for."""

    def __init__(self, world: Loose) -> None:
        self.world, self.gpu, self.version = world, ORIN, "10.3.0"
        self.orders: list[Order] = []

    def library(self, _: str) -> Loose:
        engines = {part.encode(): self._engine(part) for part in PARTS}
        trt = self.world.fakes.fake_trt(self.world.gpu, engines)
        trt.__version__ = self.version
        return trt

    def _engine(self, part: str) -> Callable[[], Loose]:
        sizes = (1, 4, 8) if part == "decoder" else (1,)
        return lambda: self.world.fakes.FakeEngine(self.world.gpu, PARTS[part], sizes)

    def build(self, order: Order, _step: object, _say: object) -> EngineFacts:
        self.orders.append(order)
        spec = PARTS[order.part]
        ports = [Port(one.name, one.dtype, (1,), one in spec.inputs) for one in (*spec.inputs, *spec.outputs)]
        sizes = order.options.buckets if order.part == "decoder" else (1,)
        census = Census(1, {"fp16": 1}, 0)
        facts = EngineFacts(
            order.part, order.precision, sizes, tuple(ports), census, (), None, 0, None, 1.0, 3, 1, ()
        )  # fmt: skip
        Path(order.out).write_bytes(header(facts) + order.part.encode())
        Path(order.timing).write_bytes(b"times")
        return facts


@pytest.fixture
def device(make_world: Callable[..., Loose], monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    device = Device(make_world(integrated=True))
    for module in (identity, backend_module, build_module):
        monkeypatch.setattr(module, "library", device.library)
        monkeypatch.setattr(module, "gpu", lambda: device.gpu)
    fakes = device.world.fakes
    monkeypatch.setattr(backend_module, "open_memory", lambda: fakes.FakeMemory(device.world.gpu, True))
    monkeypatch.setattr(build_module, "build_watched", device.build)
    yield device
    assert device.world.gpu.left() == {}


def made(bundle: Path, **words: Any) -> list[tuple[str, str, str]]:  # noqa: ANN401
    result = build_engines(open_bundle(bundle), Request(**words), bundle.parent / "s", lambda *_: None, lambda _: None)
    return [(one.part, one.outcome, one.reason) for one in result.engines]


BUILT = [("encoder", "built", ""), ("decoder", "built", "")]
REUSED = [("encoder", "reused", ""), ("decoder", "reused", "")]


def test_what_is_built_is_used_again_and_draws(bundle: Path, device: Device) -> None:
    assert made(bundle) == BUILT
    assert made(bundle) == REUSED
    assert [order.precision for order in device.orders] == ["fp16", "fp16"]
    assert device.orders[1].options.buckets == (1, 4, 8)
    with load(bundle, "tensorrt", state=bundle.parent / "s") as predictor, load(bundle, "fake") as fake:
        wanted, found = fake.segment(IMAGE, BOXES * 6), predictor.segment(IMAGE, BOXES * 6)
        np.testing.assert_array_equal(found.masks, wanted.masks)
        assert predictor.max_boxes == 8
        assert (found.served_by.backend, found.served_by.device, found.served_by.precision) == (
            "tensorrt",
            "GPU",
            "f16",
        )


def test_an_engine_of_another_device_is_never_loaded_and_inspection_says_why(bundle: Path, device: Device) -> None:
    made(bundle)
    device.gpu = replace(ORIN, capability="8.9", name="RTX 4090")
    with pytest.raises(EngineError, match=r"compute_capability.*8\.7.*is.*8\.9.*build it on this device") as caught:
        load(bundle, "tensorrt", state=bundle.parent / "s")
    assert caught.value.exit_code == 6
    blobs = bundle_state(open_bundle(bundle), bundle.parent / "s").blobs
    assert [(blob.part, blob.reusable) for blob in blobs] == [("encoder", False), ("decoder", False)]
    assert "Orin" in blobs[0].reason
    assert "RTX 4090" in blobs[0].reason


def test_inspection_calls_this_devices_engines_reusable_whatever_their_options(bundle: Path, device: Device) -> None:
    made(bundle, max_boxes=4, workspace="512MiB", level=1)
    assert [blob.reusable for blob in bundle_state(open_bundle(bundle), bundle.parent / "s").blobs] == [True, True]
    assert device.orders


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda device: setattr(device, "version", "10.16.1"), "version was 10.3.0, is 10.16.1"),
        (lambda device: setattr(device, "gpu", replace(ORIN, driver="13.0")), "device_facts was"),
    ],
)
def test_another_version_or_driver_builds_again_and_says_so(
    bundle: Path, device: Device, change: Callable[[Device], None], reason: str
) -> None:
    made(bundle)
    change(device)
    outcome = made(bundle)
    assert [one[1] for one in outcome] == ["rebuilt", "rebuilt"]
    assert reason in outcome[0][2]


def test_other_options_build_again_and_the_timing_cache_is_lent(
    bundle: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(bundle, level=2)
    lent: list[bytes] = []

    def looked(order: Order, *rest: Any) -> EngineFacts:  # noqa: ANN401
        lent.append(Path(order.timing).read_bytes())
        return device.build(order, *rest)

    monkeypatch.setattr(build_module, "build_watched", looked)
    assert [one[1] for one in made(bundle, level=4)] == ["rebuilt", "rebuilt"]
    assert lent == [b"times", b"times"]


def engine_file(bundle: Path, part: str) -> Path:
    folder = StateFolder(bundle.parent / "s")
    return next(folder.root / one.file for one in folder.read()[0].blobs if one.key.part == part)


@pytest.mark.parametrize(
    "harm", [lambda path: path.write_bytes(path.read_bytes()[:-3]), lambda path: path.write_bytes(b""), Path.unlink]
)
def test_a_shortened_engine_is_not_loaded_and_is_built_again(
    bundle: Path, device: Device, harm: Callable[[Path], None]
) -> None:
    made(bundle)
    harm(engine_file(bundle, "decoder"))
    with pytest.raises(EngineError, match="medsam-edge build"):
        load(bundle, "tensorrt", state=bundle.parent / "s")
    assert [one[1] for one in made(bundle)] == ["reused", "rebuilt"]
    assert made(bundle) == REUSED


def test_without_an_engine_the_error_names_the_verb(bundle: Path, device: Device) -> None:
    with pytest.raises(EngineError, match="medsam-edge build BUNDLE --precision fp16") as caught:
        load(bundle, "tensorrt", state=bundle.parent / "s")
    assert "none in" in caught.value.found
    with pytest.raises(EngineError, match="--precision fp32"):
        load(bundle, "tensorrt:GPU:f32", state=bundle.parent / "s")
    assert not (bundle.parent / "s").exists()


def test_a_build_whose_tensors_are_others_is_not_kept(
    bundle: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(order: Order, *_: object) -> EngineFacts:
        return replace(device.build(order, None, None), ports=())

    monkeypatch.setattr(build_module, "build_watched", other)
    with pytest.raises(BundleError, match="image uint8"):
        made(bundle)
    assert not (bundle.parent / "s").exists()


def test_a_bundle_without_graphs_for_tensorrt_says_how_to_get_them(tiny_bundle: Path, device: Device) -> None:
    entries = open_bundle(tiny_bundle)
    graphs = tuple(replace(one, targets=("openvino",)) for one in entries.manifest.graphs)
    other = replace(entries, manifest=replace(entries.manifest, graphs=graphs))
    with pytest.raises(BundleError, match="--target tensorrt"):
        commands(other, Request())


def test_a_dry_run_writes_what_trtexec_would_be_told(bundle: Path, device: Device) -> None:
    device.gpu = replace(ORIN, memory_bytes=32 * GIB, integrated=False)
    encoder, decoder = commands(open_bundle(bundle), Request(precision="fp32", workspace="2GiB", max_boxes=4))
    assert "--stronglyTyped --noTF32" in encoder
    assert "--memPoolSize=workspace:2048M" in encoder
    assert "--minShapes" not in encoder
    assert "--profile=1 --minShapes=boxes:4x4 --optShapes=boxes:4x4 --maxShapes=boxes:4x4" in decoder
    assert "--fp16" not in encoder + decoder
    with pytest.raises(UsageError, match="enterprise"):
        commands(open_bundle(bundle), Request(flavour="rtx"))


def test_without_a_driver_the_error_says_so(bundle: Path, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Gpu:
        raise DriverError("an NVIDIA driver with a GPU", "no driver", "install it")

    for module in (identity, build_module, backend_module):
        monkeypatch.setattr(module, "gpu", absent)
    with pytest.raises(DriverError):
        load(bundle, "tensorrt", state=bundle.parent / "s")
    with pytest.raises(DriverError):
        made(bundle)
    assert len(commands(open_bundle(bundle), Request())) == 2


def test_a_state_folder_has_its_usual_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert identity.default_state() == tmp_path / "medsam-edge"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert identity.default_state() == tmp_path / ".local/state/medsam-edge"
    assert device_memory.PACKAGES[0] == "pycuda"


def test_what_was_built_draws_the_bundles_masks_in_every_profile(bundle: Path, device: Device) -> None:
    said: list[str] = []
    built = building.build_bundle(bundle, "tensorrt", Request(), bundle.parent / "s", lambda *_: None, said.append)
    assert building.passed(built)
    assert built.verification is not None
    assert built.verification.backends[0].served_by.backend == "tensorrt"
    assert [check.name for check in built.consistency] == ["1 boxes at once", "4 boxes at once", "8 boxes at once"]
    assert built.layers == (building.LayerTime("everything", 1.5),)
    assert "this board has 8 boxes a call at most; more boxes are drawn in several calls" in said


@pytest.mark.parametrize(("capability", "serves"), [("8.6", True), ("8.9", True), ("12.0", False)])
def test_an_engine_for_named_capabilities_serves_a_gpu_that_has_one_of_them(
    bundle: Path, device: Device, capability: str, serves: bool
) -> None:
    built = building.build_bundle(
        bundle, "tensorrt", Request(flavour="rtx", capabilities=("8.6", "8.9")), bundle.parent / "s",
        lambda *_: None, lambda _: None,
    )  # fmt: skip
    assert (built.verification, built.build.backend) == (None, "tensorrt-rtx")
    device.gpu = replace(ORIN, capability=capability)
    if serves:
        with load(bundle, "tensorrt-rtx", state=bundle.parent / "s") as predictor:
            assert predictor.served_by.backend == "tensorrt-rtx"
        return
    with pytest.raises(EngineError, match="flavour rtx"):
        load(bundle, "tensorrt-rtx", state=bundle.parent / "s")
