"""Judges graphs made for TensorRT on a machine that has none: what they compute, never how fast.

ONNX Runtime has no float16 arithmetic on a CPU. Left to itself it computes in float32 and drops the rounding between
one operator and the next, even with every optimisation off (seen in 1.32): a residual of 100,000, which is infinity in
float16, passes through it unharmed. So the graph is rewritten in float32 with the rounding written out, which it keeps.

What the emulation shows: every weight and every operator's result rounded to float16, overflow to infinity included;
int8 layers exactly, for products of int8 numbers add up without error worth naming. What it cannot show: the order in
which TensorRT adds up, products that it adds up in float16 instead of float32, roundings that it leaves out inside
fused operators (attention, GELU), operators that it computes by other means (exp, erf), and any time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from ..runtime.backends.base import BackendChoice, GraphSource
from ..runtime.bundle import Bundle
from ..runtime.contract import check_contract
from ..runtime.errors import UsageError
from ..runtime.files import read_bytes, temporary_folder, write_atomic
from ..runtime.loading import predictor_of
from ..runtime.manifest import PartSpec
from ..runtime.predictor import Predictor
from ..runtime.profile import Profile
from ..runtime.store import MAX_GRAPH_BYTES
from .graph_tensors import tensor_types
from .half import FLOAT, HALF
from .lint import DEQUANTISE, MOVES

TARGET = "tensorrt"
EMULATOR = BackendChoice("onnxruntime")
"""What computes in TensorRT's place."""
_EXACT = (*MOVES, DEQUANTISE, "Relu", "Max", "Min", "ReduceMax", "ReduceMin")  # give no number that float16 lacks


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph that computes what a typed one computes, rounding where that one rounds.

    Args:
        model: A typed float16 graph, with or without Q/DQ; not changed. A float32 graph comes back as it is.

    Raises:
        UsageError: The type of a tensor cannot be told.
    """
    halves = {name for name, kind in tensor_types(model).items() if kind == HALF}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    made.graph.node.extend(one for node in model.graph.node for one in _nodes(node, halves))
    made.graph.initializer.extend(map(_widened, model.graph.initializer))
    return made


def _nodes(node: onnx.NodeProto, halves: set[str]) -> Iterator[onnx.NodeProto]:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    rounds = node.op_type == "Cast" or node.op_type not in _EXACT
    names = [name for name in node.output if rounds and name in halves]
    if node.op_type == "Cast" and names:
        next(one for one in made.attribute if one.name == "to").i = FLOAT
    made.output[:] = [f"{name}/exact" if name in names else name for name in node.output]
    yield made
    for name in names:
        yield helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], to=HALF)
        yield helper.make_node("Cast", [f"{name}/rounded"], [name], to=FLOAT)


def _widened(constant: TensorProto) -> TensorProto:
    if constant.data_type != HALF:
        return constant
    return numpy_helper.from_array(numpy_helper.to_array(constant).astype("float32"), constant.name)


@contextmanager
def emulated(
    bundle: Bundle, choice: BackendChoice, encoder: bytes | None, decoder: str = "fp32"
) -> Iterator[Predictor]:
    """Open what TensorRT would run, on the CPU; `trial.opened` for a target that is not this machine.

    Args:
        bundle: A bundle with graphs for TensorRT.
        choice: `EMULATOR`, with threads perhaps.
        encoder: An ONNX file as TensorRT would take it, or None for the bundle's float32 graph.
        decoder: Precision of the bundle's decoder for TensorRT: "fp32" or "fp16".

    Raises:
        BundleError: The bundle has no such graph for TensorRT, or ONNX Runtime cannot read the encoder.
        UsageError: The bundle's weights lie beside its graph.
    """
    profile = Profile.from_dict(bundle.manifest.profile)
    parts = check_contract(bundle.manifest, profile)
    entries = {"encoder": bundle.entry("encoder", "fp32", TARGET), "decoder": bundle.entry("decoder", decoder, TARGET)}
    beside = [part for part, entry in entries.items() if entry.weights]
    if beside:
        raise UsageError("graphs that hold their weights", f"weights beside the {beside[0]}", "use a smaller model")
    files = {part: read_bytes(bundle.root / entry.file, MAX_GRAPH_BYTES) for part, entry in entries.items()}
    if encoder is not None:
        files["encoder"] = encoder
    with temporary_folder() as folder:
        sources = {part: _source(folder, parts[part], data) for part, data in files.items()}
        with predictor_of(profile, sources, choice, trained=bundle.manifest.model.trained) as predictor:
            yield predictor


def _source(folder: Path, part: PartSpec, data: bytes) -> GraphSource:
    """Write the graph that ONNX Runtime is to run in place of another."""
    made = rounded(onnx.load_from_string(data)).SerializeToString(deterministic=True)
    path = folder / f"{part.name}.onnx"
    write_atomic(path, made)
    return GraphSource(path, part, sha256(made).hexdigest())
