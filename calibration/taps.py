"""Runs an encoder that hands out tensors from inside beside its embedding, one image at a time.

The tensors become outputs of the graph, and any backend of the runtime runs it. Nothing is kept but what the caller
keeps.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

import onnx
from onnx import helper

from ..runtime.backends.base import Backend, BackendChoice, GraphSource, HostTensor
from ..runtime.backends.choose import open_backend
from ..runtime.files import temporary_folder, write_atomic
from ..runtime.manifest import PartSpec, TensorSpec
from ..runtime.types import AnyArray
from .graph_tensors import check_tensors, tensor_shapes


@contextmanager
def tapped(model: onnx.ModelProto, part: PartSpec, names: Sequence[str], choice: BackendChoice) -> Iterator[Backend]:
    """Open a graph with float32 tensors inside it as outputs, after those that it has.

    Args:
        model: The graph; it is not changed.
        part: What the manifest says of it.
        names: Tensors that its nodes make; one that is an output already is not added.
        choice: What runs it.

    Raises:
        UsageError: It makes no such tensor.
        BundleError: The backend cannot open it.
        StorageError: The disk has no room for a copy of it.
    """
    check_tensors(model, names)
    known = {spec.name for spec in part.outputs}
    shapes = tensor_shapes(model, [name for name in names if name not in known])
    added = tuple(TensorSpec(name, "float32", shape) for name, shape in shapes.items())
    shown = PartSpec(part.name, part.inputs, (*part.outputs, *added))
    with temporary_folder() as folder:
        path = folder / f"{part.name}.onnx"
        data = _with_outputs(model, shapes)
        write_atomic(path, data)
        source = GraphSource(path, shown, sha256(data).hexdigest())
        del data
        backend = open_backend(source, choice)
        try:
            yield backend
        finally:
            backend.close()


def _with_outputs(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Serialise the graph with more outputs, and leave it as it was: it may be too large to copy."""
    outputs = model.graph.output
    before = len(outputs)
    outputs.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items())
    try:
        data: bytes = model.SerializeToString()
    finally:
        del outputs[before:]
    return data


def run(backend: Backend, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Run it once, on arrays."""
    found = backend.run({name: HostTensor(array) for name, array in inputs.items()})
    return {name: tensor.numpy() for name, tensor in found.items()}
