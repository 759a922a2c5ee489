"""OpenVINO on CPU, GPU or NPU. Its model and request objects never leave this file.

Two habits of the library decide how it is used here: it picks bf16 by itself on CPUs that have it, so the precision
is always stated and read back; and it reuses output buffers, so outputs are copied.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BundleError, MachineError
from .base import BackendChoice, GraphSource, HostTensor, Tensor, check_inputs

if TYPE_CHECKING:
    import openvino

    from ..manifest import TensorSpec


def devices() -> tuple[str, ...]:
    """Return the devices that OpenVINO finds on this machine.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    import openvino

    return tuple(openvino.Core().available_devices)


def version() -> str:
    """Return the library's version, without its build suffix."""
    import openvino

    return str(openvino.get_version()).split("-")[0]


class OpenVinoBackend:
    """A compiled model with one request; calls from several threads are answered one after another."""

    def __init__(self, source: GraphSource, choice: BackendChoice) -> None:
        import openvino

        core = openvino.Core()
        _check_device(core, choice)
        try:
            compiled = core.compile_model(str(source.path), choice.device, _properties(choice))
        except RuntimeError as error:
            raise _unreadable(source, choice, error) from error
        self.precision = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self._request = compiled.create_infer_request()
        self._part = source.part
        self._lock = threading.Lock()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `run` wants."""
        return self._part.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that `run` returns."""
        return self._part.outputs

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the graph once."""
        arrays = check_inputs(self.inputs, tensors)
        with self._lock:
            values = self._request.infer(arrays, share_inputs=True, share_outputs=True)
            copies = {spec.name: np.array(values[spec.name]) for spec in self.outputs}
        return {name: HostTensor(value) for name, value in copies.items()}

    def close(self) -> None:
        """Drop the request and with it the compiled model."""
        self._request = None


def _properties(choice: BackendChoice) -> dict[str, object]:
    # One request at a time is what a person at a scanner makes: latency, one stream.
    properties: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": choice.precision,
    }
    if choice.threads is not None:
        properties["INFERENCE_NUM_THREADS"] = choice.threads
    return properties


def _check_device(core: openvino.Core, choice: BackendChoice) -> None:
    present = core.available_devices
    if not any(name == choice.device or name.split(".")[0] == choice.device for name in present):
        raise MachineError(
            f"an OpenVINO device {choice.device}",
            f"this machine has {', '.join(present) or 'none'}",
            "name one of these devices, or install the driver of the missing one",
        )


def _unreadable(source: GraphSource, choice: BackendChoice, error: RuntimeError) -> BundleError:
    return BundleError(
        f"a graph that OpenVINO {version()} can compile for {choice.device} in {choice.precision}",
        f"{source.path.name}: {str(error).strip().splitlines()[-1]}",
        "name another device or precision, update openvino, or use --backend onnxruntime",
    )
