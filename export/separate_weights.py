"""Moves the weights of a part that one ONNX file cannot hold into a file of their own, beside it.

Protobuf ends at 2 GB; ViT-H in float32 has 2.5. What is moved goes to a nameless temporary file and comes back mapped,
so that it takes memory only while it is read. It knows nothing of parts and bundles.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir
from torch.onnx import ONNXProgram

from ..runtime.files import explained, map_stream, temporary_folder
from ..runtime.manifest import weights_name
from ..runtime.store import MAX_GRAPH_BYTES

LARGEST_WITHIN = MAX_GRAPH_BYTES - (64 << 20)
"""Bytes of weights that a file holds itself; the rest is for nodes, and for constants that forms of attention add."""
SMALLEST_MOVED = 1024  # bytes; shapes, which shape inference reads, stay inside
ALIGNMENT = 4096  # a page, as the ONNX format advises for mapping


@dataclass(frozen=True)
class Weights:
    """A file of weights: the name under which its graph refers to it, and its content."""

    name: str
    data: memoryview


def separated(program: ONNXProgram) -> tuple[onnx.ModelProto, tuple[Weights, ...]]:
    """Turn an exported program into ONNX, its weights aside if they are more than `LARGEST_WITHIN` bytes.

    Raises:
        StorageError: The temporary folder is full.
    """
    tensors = [value.const_value for value in program.model.graph.initializers.values()]
    if sum(tensor.nbytes for tensor in tensors if tensor is not None) <= LARGEST_WITHIN:
        return program.model_proto, ()
    with (
        explained("a temporary file that can be written", Path(tempfile.gettempdir())),
        tempfile.TemporaryFile(prefix="medsam-edge-") as stream,
    ):
        _move(program.model, stream)
        stream.flush()
        data = map_stream(stream)
    name = Path(weights_name(hashlib.sha256(data).hexdigest())).name
    model = program.model_proto
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = name if entry.key == "location" else entry.value
    return model, (Weights(name, data),)


def _move(model: onnx_ir.Model, stream: BinaryIO) -> None:
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < SMALLEST_MOVED:
            continue
        offset = stream.seek(-(-stream.tell() // ALIGNMENT) * ALIGNMENT)
        stream.write(tensor.tobytes())
        value.const_value = onnx_ir.ExternalTensor(
            "", offset, tensor.nbytes, tensor.dtype, shape=onnx_ir.Shape(tensor.shape.numpy()), name=name
        )


def check(model: onnx.ModelProto, weights: tuple[Weights, ...]) -> None:
    """Run ONNX's own checker, shape inference included.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: The exporter, or a form, made no valid graph.
    """
    if not weights:
        onnx.checker.check_model(model, full_check=True)
        return
    with temporary_folder() as folder:
        for one in weights:  # it looks whether the files are there and not at what is in them: holes will do
            with (folder / one.name).open("wb") as stream:
                stream.truncate(len(one.data))
        onnx.save(model, folder / "model.onnx")
        onnx.checker.check_model(folder / "model.onnx", full_check=True)
