"""Let pytest run from a bare checkout, where the repository root is the package; and the bundle that most tests use.

The tiny bundle is answered by the shipped fake backend: no weights, no PyTorch, a few milliseconds.
"""
# ruff: noqa: E402 - the package has to be importable first

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from subprocess import CompletedProcess, run

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

if find_spec("medsam_edge") is None:
    spec = spec_from_file_location("medsam_edge", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec
    assert spec.loader
    sys.modules["medsam_edge"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["medsam_edge"])

from medsam_edge.runtime.backends import choose
from medsam_edge.runtime.backends.base import Backend, BackendChoice, GraphSource
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.boxes import box_fill
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.manifest import Model, PartSpec, TensorSpec
from medsam_edge.runtime.predictor import Predictor, ServedBy
from medsam_edge.runtime.profile import medsam, profile_named
from medsam_edge.runtime.store import BundleWriter
from medsam_edge.runtime.types import Case

# S, E and 4E, so that S / 4E is what the fake backend draws with.
SIDE, GRID, LOGITS = 64, 8, 32
EMBEDDING = TensorSpec("image_embedding", "float32", (1, 256, GRID, GRID))
PARTS = {
    "encoder": PartSpec("encoder", (TensorSpec("image", "uint8", (1, 3, SIDE, SIDE)),), (EMBEDDING,)),
    "decoder": PartSpec(
        "decoder",
        (EMBEDDING, TensorSpec("boxes", "float32", ("N", 4))),
        (
            TensorSpec("low_res_logits", "float32", ("N", 1, LOGITS, LOGITS)),
            TensorSpec("iou_predictions", "float32", ("N", 1)),
        ),
    ),
}

IMAGE, VALID_HW = PARTS["encoder"].inputs[0], TensorSpec("valid_hw", "int32", (2,))
PADDED = PartSpec("encoder", (IMAGE, VALID_HW), (EMBEDDING,))


def _fake_backend(part: str) -> FakeBackend:
    spec = PADDED if part == "encoder with valid_hw" else PARTS[part]
    return FakeBackend(GraphSource(Path(f"{part}.onnx"), spec, "0" * 64), BackendChoice("fake"))


def _fake_predictor(
    encoder: Backend | None = None, decoder: Backend | None = None, max_boxes: int = 16, profile: str = "medsam"
) -> Predictor:
    contract = profile_named(profile, SIDE)
    part = "encoder with valid_hw" if contract.takes_valid_hw else "encoder"
    parts = (encoder or _fake_backend(part), decoder or _fake_backend("decoder"))
    return Predictor(contract, *parts, ServedBy("fake", "1", "CPU", "f32", {}), max_boxes)


def _case(name: str, modality: str, image_hw: tuple[int, int], boxes: Sequence[Sequence[float]]) -> Case:
    """A case whose reference masks are its boxes, filled, so that scores can be computed by hand."""
    image = np.random.default_rng(len(name)).integers(0, 256, (*image_hw, 3), np.uint8)
    masks = np.stack([box_fill(box, image_hw) for box in boxes])
    return Case(name, image, np.asarray(boxes, np.float32), masks, modality, name)


def _tiny_cases() -> tuple[Case, ...]:
    return (
        _case("ct-one", "CT", (64, 64), ((4, 6, 40, 50), (20, 20, 60, 44), (0, 0, 64, 64))),
        _case("mr-three", "MR", (48, 80), ((8, 4, 70, 40), (30, 10, 50, 30))),
    )


def _answer(case: Case) -> Golden:
    predictor = _fake_predictor()
    embedding = predictor.embed(case.image)
    found = predictor.predict(embedding, case.boxes)
    return Golden(
        id=case.id,
        modality=case.modality,
        image=case.image,
        boxes=case.boxes,
        image_embedding=embedding.tensor.numpy(),
        low_res_logits=found.low_res_logits,
        iou_predictions=found.iou_predictions,
        masks=found.masks,
        reference=case.masks,
    )


def _write_bundle(
    root: Path,
    golden: Sequence[Golden],
    trained: bool = True,
    parts: Sequence[str] = (),
    graphs: Mapping[str, bytes] | None = None,
) -> Path:
    chosen = [PARTS[name] for name in parts or PARTS]
    with BundleWriter(root) as writer:
        for part in chosen:
            data = (graphs or {}).get(part.name, f"{part.name}\n".encode())
            writer.add_graph(data, part=part.name, precision="fp32", form="plain", targets=())
        for case in golden:
            writer.add_golden(case)
        writer.add_record("export", {"of": "a test"})
        writer.commit(
            model=Model("tiny", "sam_vit", {}, "1" * 64, trained, "tiny.pth", "2" * 64),
            profile=medsam(SIDE).to_dict(),
            pipeline=[part.name for part in chosen],
            parts=chosen,
            embedding_size=GRID,
        )
    return root


@pytest.fixture
def fake_backend() -> Callable[[str], FakeBackend]:
    """Open the fake backend for the part `encoder`, `encoder with valid_hw` or `decoder`."""
    return _fake_backend


@pytest.fixture
def fake_predictor() -> Callable[..., Predictor]:
    """Make a predictor of fake parts, each of which may be replaced."""
    return _fake_predictor


@pytest.fixture(scope="session")
def tiny_cases() -> tuple[Case, ...]:
    """A square and an oblong case, of two modalities, with 3 and 2 boxes."""
    return _tiny_cases()


@pytest.fixture(scope="session")
def tiny_golden() -> tuple[Golden, ...]:
    """The fake backend's answers to the tiny cases."""
    return tuple(_answer(case) for case in _tiny_cases())


@pytest.fixture
def write_bundle() -> Callable[..., Path]:
    """Write a tiny bundle: `(root, golden, trained, parts)`."""
    return _write_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_golden: tuple[Golden, ...]) -> Path:
    """A bundle that nobody may change; `own_bundle` is a copy for those who do."""
    return _write_bundle(tmp_path_factory.mktemp("session") / "tiny.bundle", tiny_golden)


def _graph(
    part: PartSpec, nodes: Sequence[tuple[str, str, str, dict[str, object]]], seed: int, **weights: object
) -> bytes:
    """An ONNX file of `(operator, inputs, output, attributes)`; a weight is an array, or the shape of a random one."""
    onnx = pytest.importorskip("onnx")
    helper, random = onnx.helper, np.random.default_rng(seed)
    types = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
    ports = {
        spec.name: helper.make_tensor_value_info(spec.name, types[spec.dtype], spec.shape)
        for spec in (*part.inputs, *part.outputs)
    }
    arrays = {
        name: value if isinstance(value, np.ndarray) else random.normal(0, 0.05, value).astype(np.float32)
        for name, value in weights.items()
    }
    made = helper.make_graph(
        [helper.make_node(kind, names.split(), [output], **options) for kind, names, output, options in nodes],
        part.name,
        [ports[spec.name] for spec in part.inputs],
        [ports[spec.name] for spec in part.outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def _graphs(seed: int) -> dict[str, bytes]:
    """The smallest graphs with the right interface whose answers depend on every input."""
    encoder = (
        ("Cast", "image", "pixels", {"to": 1}),
        ("AveragePool", "pixels", "cells", {"kernel_shape": [GRID, GRID], "strides": [GRID, GRID]}),
        ("Conv", "cells kernel", "image_embedding", {}),
    )
    decoder = (
        ("Flatten", "image_embedding", "row", {}),
        ("MatMul", "row squeeze", "context", {}),
        ("MatMul", "boxes spread", "drawn", {}),
        ("Add", "drawn context", "flat", {}),
        ("Reshape", "flat grid", "low_res_logits", {}),
        ("MatMul", "boxes rate", "rated", {}),
        ("Sigmoid", "rated", "iou_predictions", {}),
    )
    size, grid = LOGITS * LOGITS, np.array([-1, 1, LOGITS, LOGITS])
    squeeze = (256 * GRID * GRID, 1)
    return {
        "encoder": _graph(PARTS["encoder"], encoder, seed, kernel=(256, 3, 1, 1)),
        "decoder": _graph(PARTS["decoder"], decoder, seed, squeeze=squeeze, spread=(4, size), grid=grid, rate=(4, 1)),
    }


@pytest.fixture
def real_bundle(tmp_path: Path, tiny_golden: tuple[Golden, ...]) -> Path:
    """A bundle that ONNX Runtime and OpenVINO can run; its golden answers are not its own."""
    return _write_bundle(tmp_path / "real.bundle", tiny_golden, graphs=_graphs(1))


@pytest.fixture
def other_graphs() -> dict[str, bytes]:
    """The graphs of a retrained model, for `write_bundle`."""
    return _graphs(2)


@pytest.fixture
def own_bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A copy of the tiny bundle."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "own.bundle"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., CompletedProcess[str]]:
    """Run the command line in this process, 80 columns wide; whatever is no exit is a test's failure."""
    from medsam_edge.cli import main

    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object) -> CompletedProcess[str]:
        argv = ["medsam-edge", *map(str, words)]
        monkeypatch.setattr(sys, "argv", argv)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return CompletedProcess(argv, int(left.value.code), *capsys.readouterr())

    return run


@pytest.fixture
def tensorrt(tmp_path: Path) -> Callable[[str, Sequence[bytes]], list[dict[str, object]]]:
    """Ask TensorRT-RTX's parser or builder about ONNX files: `("parse" or "build", files)`; one answer a file."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

    def ask(verb: str, files: Sequence[bytes]) -> list[dict[str, object]]:
        paths = [tmp_path / f"{index}.onnx" for index, _ in enumerate(files)]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        script = Path(__file__).with_name("tensorrt_builder.py")
        done = run([sys.executable, script, verb, *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return ask


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that the named backends are installed, and no others."""

    def pretend(*names: str) -> None:
        def status(name: str) -> choose.BackendStatus:
            present = name in names
            hint = None if present else choose.install_hint(choose.EXTRAS[name])
            return choose.BackendStatus(name, "1" if present else None, (), hint)

        monkeypatch.setattr(choose, "status", status)

    return pretend
