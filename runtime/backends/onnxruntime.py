"""ONNX Runtime on the CPU. Its session objects never leave this file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ..errors import BundleError
from .base import (
    BackendChoice,
    Described,
    GraphSource,
    HostTensor,
    Tensor,
    check_inputs,
    check_tensors,
    failure,
    is_memory,
)

if TYPE_CHECKING:
    import onnxruntime


def devices() -> tuple[str, ...]:
    """Return the devices that this backend uses: the CPU, whatever else the installed package offers.

    Raises:
        ImportError: If ONNX Runtime is not installed.
    """
    import onnxruntime  # noqa: F401

    return ("CPU",)


def version() -> str:
    """Return the library's version."""
    import onnxruntime

    return str(onnxruntime.__version__)


class OnnxRuntimeBackend(Described):
    """A session. `run` is thread-safe: ONNX Runtime's own `run` is, and its outputs are fresh arrays."""

    def __init__(self, source: GraphSource, choice: BackendChoice) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings about constant folding help nobody at the bedside
        options.intra_op_num_threads = choice.threads or 0
        # Threads that spin after a call, in the hope of the next, slow down what comes between: the other part's graph
        # and NumPy. On two cores one box took 1.7 times as long with it (docs/performance.md).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A pattern is one block planned for the whole run, larger than what is needed at any one time: without it the
        # encoder of ViT-B peaks at 1383 MiB instead of 2285, in the same time (docs/performance.md).
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(
                str(source.path), options, ["CPUExecutionProvider"], disabled_optimizers=_disabled(choice)
            )
        except Exception as error:  # the library raises a dozen unrelated classes
            raise failure("ONNX Runtime", error) if is_memory(error) else _unreadable(source, error) from error
        check_tensors(source, _names(self._session.get_inputs()), _names(self._session.get_outputs()))
        super().__init__(source.part)
        self.precision = "f32"

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the graph once."""
        arrays = check_inputs(self.inputs, tensors)
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, arrays)
        except Exception as error:
            raise failure("ONNX Runtime", error) from error
        return {name: HostTensor(value) for name, value in zip(names, values, strict=True)}

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def _disabled(choice: BackendChoice) -> list[str]:
    """Leave out the fusion of a product with its bias in int8 graphs.

    It makes a float Gemm of them before int8 is looked for, and the weights are made float again in every run: the
    demo's int8 encoder took 1.5 times as long as float32, and 0.8 times without the fusion (docs/precision.md).
    """
    return ["MatMulAddFusion"] if choice.graph == "int8" else []


def _names(nodes: list[onnxruntime.NodeArg]) -> list[str]:
    return [node.name for node in nodes]


def _unreadable(source: GraphSource, error: Exception) -> BundleError:
    return BundleError(
        "a graph that this ONNX Runtime can load",
        f"{source.path.name}: {error}",
        f"install a newer onnxruntime than {version()}, or export the bundle again",
    )
