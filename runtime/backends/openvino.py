"""OpenVINO on CPU, GPU or NPU. Its model and request objects never leave this file.

Two habits of the library decide how it is used here: it picks bf16 by itself on CPUs that have it, so the precision
is always stated and read back; and it reuses output buffers, so outputs are copied.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BundleError, MachineError
from ..state import StateFolder
from ..state_manifest import BlobKey
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
from .openvino_cache import model_key, open_model, precision_of

if TYPE_CHECKING:
    import openvino


def devices() -> tuple[str, ...]:
    """Return the devices that OpenVINO finds on this machine.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    return tuple(_core().available_devices)


def version() -> str:
    """Return the library's version, without its build suffix."""
    return str(_openvino().get_version()).split("-")[0]


def _openvino() -> ModuleType:
    """Import the library without its telemetry, which would report every import to a server.

    The library falls back to a stub of its own where the telemetry package cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


@cache
def _core() -> openvino.Core:
    # One for the process: each new one would load the plug-ins of all devices again.
    return _openvino().Core()


def key_of(source: GraphSource, choice: BackendChoice) -> BlobKey:
    """Return what a compiled model must have been made from and for to be used now.

    Raises:
        MachineError: If the device is not there.
    """
    _check_device(_core(), choice)
    return model_key(_core(), source, choice, _properties(choice))


class OpenVinoBackend(Described):
    """A compiled model with one request; calls from several threads are answered one after another.

    Attributes:
        cache: How it was opened.
    """

    def __init__(self, source: GraphSource, choice: BackendChoice, state: StateFolder | None = None) -> None:
        core = _core()
        _check_device(core, choice)
        try:
            compiled, self.cache = open_model(core, source, choice, _properties(choice), state)
            self.precision = precision_of(compiled)
            self._request = compiled.create_infer_request()
        except (RuntimeError, MemoryError) as error:
            raise failure("OpenVINO", error) if is_memory(error) else _unreadable(source, choice, error) from error
        _check_precision(choice, self.precision)
        check_tensors(source, _names(compiled.inputs), _names(compiled.outputs))
        super().__init__(source.part)
        self._lock = threading.Lock()

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        """Run the graph once."""
        arrays = check_inputs(self.inputs, tensors)
        with self._lock:
            try:
                values = self._request.infer(arrays, share_inputs=True, share_outputs=True)
                copies = {spec.name: np.array(values[spec.name]) for spec in self.outputs}
            except (RuntimeError, MemoryError) as error:
                raise failure("OpenVINO", error) from error
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


def _names(ports: Sequence[openvino.ConstOutput]) -> list[str]:
    return [port.get_any_name() for port in ports]


def _check_device(core: openvino.Core, choice: BackendChoice) -> None:
    present = core.available_devices
    if not any(name == choice.device or name.split(".")[0] == choice.device for name in present):
        raise MachineError(
            f"an OpenVINO device {choice.device}",
            f"this machine has {', '.join(present) or 'none'}",
            "name one of these devices, or install the driver of the missing one",
        )


def _check_precision(choice: BackendChoice, found: str) -> None:
    if found != choice.precision:
        raise MachineError(
            f"an OpenVINO device {choice.device} that computes in {choice.precision}",
            f"it computes in {found}",
            "name a precision that this processor has; without one it is f32",
        )


def _unreadable(source: GraphSource, choice: BackendChoice, error: Exception) -> BundleError:
    return BundleError(
        f"a graph that OpenVINO {version()} can compile for {choice.device} in {choice.precision}",
        f"{source.path.name}: {str(error).strip().splitlines()[-1]}",
        "name another device or precision, update openvino, or use --backend onnxruntime",
    )
