"""The one seam between this project and an inference library.

A `Backend` is one graph, ready to run. What it is made of stays in its own file; numpy arrays and the small types
here are all that crosses. It knows nothing of images, boxes or bundles.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import BackendError, BundleError, DeviceMemoryError, MedSAMEdgeError, UsageError
from ..manifest import PartSpec, TensorSpec
from ..types import AnyArray


class Tensor(Protocol):
    """A value that may live on a device. `numpy()` brings it to the host; the array is the caller's own."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes."""
        ...

    @property
    def dtype(self) -> str:
        """Numpy's name of the element type."""
        ...

    def numpy(self) -> AnyArray:
        """Return the value on the host."""
        ...


@dataclass(frozen=True)
class HostTensor:
    """A tensor that is a numpy array already."""

    array: AnyArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """Numpy's name of the element type."""
        return str(self.array.dtype)

    def numpy(self) -> AnyArray:
        """Return the array itself."""
        return self.array


class Backend(Protocol):
    """One graph on one device.

    Contract:
        - `inputs` and `outputs` name the graph's tensors; a dynamic axis is "N".
        - `run` takes one tensor for each input and returns one for each output. Outputs belong to the caller and
          stay as they are through later runs: a backend whose library reuses its buffers copies them.
        - Outputs named in `keep_on_device` may stay there; a backend without device memory returns host tensors.
        - `run` may be called from many threads; it answers them one after another where the library cannot do more.
        - `close` may be called twice. After it, `run` must not be called.
    """

    @property
    def precision(self) -> str:
        """The precision that the library says it computes in: "f32", "bf16", "f16"."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `run` wants."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `run` returns."""
        ...

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the graph once."""
        ...

    def close(self) -> None:
        """Release what the library holds."""
        ...


class Described:
    """The half of a backend that repeats what the manifest says of its graph."""

    def __init__(self, part: PartSpec) -> None:
        self._part = part

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `run` wants."""
        return self._part.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `run` returns."""
        return self._part.outputs


def _hashed_already() -> None:
    """Do nothing: the file's hash was checked when its bundle was opened."""


@dataclass(frozen=True)
class GraphSource:
    """What a backend is opened from: a file, and what the manifest says of it.

    Attributes:
        path: The ONNX file.
        part: Its tensors.
        sha256: Its hash.
        verify: Called before a library reads the file; hashes it where nobody has done so yet, and raises BundleError.
    """

    path: Path
    part: PartSpec
    sha256: str
    verify: Callable[[], None] = _hashed_already


@dataclass(frozen=True)
class BackendChoice:
    """A backend as a person names it: `onnxruntime`, `openvino`, `openvino:GPU`, `openvino:CPU:int8+bf16`.

    Attributes:
        name: The library.
        device: The library's own name of the device.
        precision: Execution precision, stated because a library's default is not what one thinks (OpenVINO takes
            bf16 by itself on some CPUs).
        threads: CPU threads, or None for all physical cores.
        graph: Precision of the encoder's graph: "fp32", "fp16" (TensorRT only), or "int8" for one that `quantize`
            wrote, whose other operators run in `precision`.
    """

    name: str
    device: str = "CPU"
    precision: str = "f32"
    threads: int | None = None
    graph: str = "fp32"

    @property
    def label(self) -> str:
        """Both precisions, as a person writes them: "f32", "bf16", "int8", "int8+bf16"."""
        return label(self.graph, self.precision)

    def __str__(self) -> str:
        """The shortest form that parses back to the same choice."""
        if (self.graph, self.precision) != _precisions("", self.name, self.device):
            return f"{self.name}:{self.device}:{self.label}"
        return self.name if self.device == _device("", self.name) else f"{self.name}:{self.device}"


TENSORRT = ("tensorrt", "tensorrt-rtx")
BACKENDS = ("openvino", "onnxruntime", *TENSORRT, "fake")
_MEMORY_WORDS = ("alloc", "out of memory", "not enough memory", "out_of_resources", "out of gpu resources")
_PRECISIONS = ("f32", "f16", "bf16")


def label(graph: str, precision: str) -> str:
    """Write the precision of a graph and that of what it leaves open as one word: "f32", "int8", "int8+bf16"."""
    if graph != "int8":
        return precision
    return graph if precision == "f32" else f"{graph}+{precision}"


def _device(text: str, name: str) -> str:
    return text.upper() or ("GPU" if name in TENSORRT else "CPU")


def _default_precision(name: str, device: str) -> str:
    # NPUs compute in float16 only, and TensorRT is there for it; else it is float32 unless one says otherwise.
    return "f16" if device.startswith("NPU") or name in TENSORRT else "f32"


def choice_from_text(text: str) -> BackendChoice:
    """Read `name[:device[:precision]]`.

    Raises:
        UsageError: If the name or the precision is not known.
    """
    name, _, rest = text.partition(":")
    device, _, precision = rest.partition(":")
    device = _device(device, name)
    graph, precision = _precisions(precision, name, device)
    if name not in BACKENDS or precision not in _PRECISIONS or not _fits(name, device, graph, precision):
        raise UsageError(
            "a backend such as onnxruntime, openvino, openvino:GPU, openvino:CPU:bf16 or onnxruntime:CPU:int8",
            repr(text),
            "name one of these; `medsam-edge doctor` lists what this machine has",
        )
    return BackendChoice(name, device, precision, graph=graph)


def _fits(name: str, device: str, graph: str, precision: str) -> bool:
    if name in TENSORRT:
        return device == "GPU" and (graph, precision) in (("fp32", "f32"), ("fp16", "f16"), ("int8", "f16"))
    return name == "openvino" or (device, precision) == ("CPU", "f32")


def _precisions(text: str, name: str, device: str) -> tuple[str, str]:
    """Split "int8+bf16" into the graph's precision and the other operators'; TensorRT's "f16" is its graph's too."""
    default = _default_precision(name, device)
    graph, _, rest = (text or default).partition("+")
    if graph == "int8":
        return graph, rest or default
    return "fp16" if name in TENSORRT and text in ("", "f16") else "fp32", text or default


def check_tensors(source: GraphSource, inputs: Collection[str], outputs: Collection[str]) -> None:
    """Hold the tensors that a library found in a graph against what the manifest says of it.

    Raises:
        BundleError: If their names differ.
    """
    for kind, specs, found in (("inputs", source.part.inputs, inputs), ("outputs", source.part.outputs, outputs)):
        if {spec.name for spec in specs} != set(found):
            wanted = ", ".join(spec.name for spec in specs)
            listed = ", ".join(sorted(found)) or "none"
            raise BundleError(f"the {kind} {wanted} in {source.path.name}", listed, "export the bundle again")


def failure(library: str, error: Exception) -> MedSAMEdgeError:
    """Return the error of ours for what a library raised while it ran."""
    found = f"{type(error).__name__}: {str(error).strip() or 'no message'}"[:400]
    if is_memory(error):
        return DeviceMemoryError(f"enough memory for {library}", found, "use fewer boxes per call or a smaller model")
    return BackendError(f"{library} to answer", found, "run it again; if it stays, name another --backend")


def is_memory(error: Exception) -> bool:
    """Tell whether a library ran out of memory; most say it in words only."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(word in words for word in _MEMORY_WORDS)


def check_inputs(specs: tuple[TensorSpec, ...], tensors: Mapping[str, Tensor]) -> dict[str, AnyArray]:
    """Return the host arrays in C order after comparing names, dtypes and fixed axes with the graph's.

    Raises:
        UsageError: As `check_given`.
    """
    check_given(specs, tensors)
    return {spec.name: np.ascontiguousarray(tensors[spec.name].numpy()) for spec in specs}


def check_given(specs: tuple[TensorSpec, ...], tensors: Mapping[str, Tensor]) -> None:
    """Compare names, dtypes and fixed axes of tensors with the graph's, wherever they lie.

    Raises:
        UsageError: If a tensor is missing, superfluous, or of another dtype or shape.
    """
    if {spec.name for spec in specs} != set(tensors):
        wanted, given = ", ".join(spec.name for spec in specs), ", ".join(tensors)
        raise UsageError(f"the inputs {wanted}", given or "none", "pass exactly these tensors")
    for spec in specs:
        _check_input(spec, tensors[spec.name])


def _check_input(spec: TensorSpec, tensor: Tensor) -> None:
    axes = len(spec.shape) == len(tensor.shape) and all(
        isinstance(want, str) or want == have for want, have in zip(spec.shape, tensor.shape, strict=True)
    )
    if not axes or spec.dtype != tensor.dtype:
        raise UsageError(
            f"{spec.name} as {spec.dtype} {list(spec.shape)}",
            f"{tensor.dtype} {list(tensor.shape)}",
            "prepare the tensor with the bundle's profile",
        )
