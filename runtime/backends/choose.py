"""Which backends are here, which one a name means, and how to open it.

The only place that lists the backends: one `match`, a lazy import in each arm. It knows nothing of bundles.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from ..errors import DriverError, MissingExtraError
from ..state import CacheStatus, StateFolder
from ..state_manifest import BlobKey
from .base import BACKENDS, TENSORRT, Backend, BackendChoice, GraphSource, choice_from_text

EXTRAS = {"onnxruntime": "ort", "openvino": "openvino", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt-rtx"}
# What `auto` tries, the faster one on Intel processors first. The fake is never chosen by itself, nor is TensorRT: its
# engines have to be built before.
LADDER = ("openvino", "onnxruntime")
NO_GPU = "no driver, or no GPU that answers it"


@dataclass(frozen=True)
class BackendStatus:
    """What is known of a backend on this machine; `missing` says what to install or mend, or is None."""

    name: str
    version: str | None
    devices: tuple[str, ...]
    missing: str | None


def install_hint(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'medsam-edge[{extra}]'"


def status(name: str) -> BackendStatus:
    """Look for one backend; nothing is compiled."""
    try:
        if name in TENSORRT:
            from .tensorrt import status_of

            return BackendStatus(name, *status_of(name))
        module = _module(name)
        return BackendStatus(name, module.version(), module.devices(), None)
    except DriverError:
        return BackendStatus(name, None, (), NO_GPU)
    except (ModuleNotFoundError, MissingExtraError):
        return BackendStatus(name, None, (), install_hint(EXTRAS[name]))
    except Exception as error:  # a binary that does not load raises what it likes, and must not take others along
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return BackendStatus(name, None, (), f"broken ({reason}); {install_hint(EXTRAS[name])} again")


def available() -> tuple[str, ...]:
    """Return the names of the real backends that can be imported, best first."""
    return tuple(name for name in LADDER if status(name).missing is None)


def resolve(text: str) -> BackendChoice:
    """Turn what a person asked for, or `auto`, into a backend that is here.

    Raises:
        UsageError: If the name is not known.
        MissingExtraError: If the backend is not installed; the message lists what is.
        MachineError, DriverError: If TensorRT does not load, is too old, or finds no driver.
    """
    if text == "auto":
        here = available()
        if not here:
            raise _missing("an inference backend", here, install_hint("openvino"))
        return choice_from_text(here[0])
    choice = choice_from_text(text)
    if choice.name in TENSORRT:
        from .tensorrt import status_of

        status_of(choice.name)
        return choice
    if choice.name != "fake" and (remedy := status(choice.name).missing) is not None:
        raise _missing(f"the backend {choice.name}", available(), remedy)
    return choice


def open_backend(source: GraphSource, choice: BackendChoice) -> Backend:
    """Open one graph.

    Raises:
        BundleError: If the library cannot read or compile the graph.
        MachineError: If the device is not there.
    """
    return open_cached(source, choice, None)[0]


def open_cached(source: GraphSource, choice: BackendChoice, state: StateFolder | None) -> tuple[Backend, CacheStatus]:
    """Open one graph, from a compiled model in the state folder where that serves; raises what `open_backend` does."""
    if choice.name == "openvino":
        from .openvino import OpenVinoBackend

        opened = OpenVinoBackend(source, choice, state)
        return opened, opened.cache
    if choice.name in TENSORRT:
        from .tensorrt import open_engine

        return open_engine(source, choice, state), CacheStatus("reused")
    source.verify()
    reason = "" if state is None else f"{choice.name} keeps no compiled models"
    return _open_plain(source, choice), CacheStatus("off", reason)


def _open_plain(source: GraphSource, choice: BackendChoice) -> Backend:
    match choice.name:
        case "onnxruntime":
            from .onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend(source, choice)
        case _:
            from .fake import FakeBackend

            return FakeBackend(source, choice)


def blob_key(source: GraphSource, choice: BackendChoice) -> BlobKey | None:
    """Return what a compiled model must have been made from and for to be used now; None: this backend keeps none.

    Raises:
        MachineError: If the device is not there.
    """
    if choice.name in TENSORRT:
        from ..engines.identity import key_of

        return key_of(source, choice)
    return _module(choice.name).key_of(source, choice) if choice.name == "openvino" else None


def _module(name: str) -> ModuleType:
    assert name in BACKENDS
    return import_module(f".{name}", __package__)


def _missing(what: str, here: tuple[str, ...], remedy: str) -> MissingExtraError:
    listed = ", ".join(here) or "no backend at all"
    other = "" if install_hint("ort") in remedy else f", or {install_hint('ort')}"
    return MissingExtraError(f"{what} on this machine", listed, remedy + other)
