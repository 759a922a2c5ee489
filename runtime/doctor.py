"""What is installed here, and the command that installs what is not. It imports backends, and compiles nothing."""

import platform
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec

from .backends.choose import BackendStatus, install_hint, status
from .errors import MachineError, MissingExtraError
from .machine import memory_gib, processor_features, processor_name

# Extra to the modules that it brings and their distributions' names.
_EXTRAS = {
    "export": {"torch": "torch", "onnx": "onnx", "onnxscript": "onnxscript", "safetensors": "safetensors"},
    "calibrate": {"onnx": "onnx", "onnxruntime": "onnxruntime"},
    "plot": {"matplotlib": "matplotlib"},
    "dicom": {
        "pydicom": "pydicom",
        "highdicom": "highdicom",
        "pylibjpeg": "pylibjpeg",
        "libjpeg": "pylibjpeg-libjpeg",
        "openjpeg": "pylibjpeg-openjpeg",
    },
    "volumes": {"nibabel": "nibabel"},
    "baseline": {"skimage": "scikit-image", "cv2": "opencv-python-headless"},
}


@dataclass(frozen=True)
class ExtraStatus:
    """An extra: what of it is here (`name version`), and what to type for the rest, or None."""

    name: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    missing: str | None


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found."""

    python: str
    system: str
    processor: str
    features: tuple[str, ...]
    memory_gib: float
    backends: tuple[BackendStatus, ...]
    extras: tuple[ExtraStatus, ...]


def diagnose() -> Diagnosis:
    """Look at this machine."""
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        features=processor_features(),
        memory_gib=round(memory_gib(), 1),
        backends=tuple(status(name) for name in ("openvino", "onnxruntime")),
        extras=tuple(extra_status(name) for name in _EXTRAS),
    )


def extra_status(name: str) -> ExtraStatus:
    """Look for the packages of one extra, without importing them."""
    packages = _EXTRAS[name]
    absent = tuple(package for module, package in packages.items() if find_spec(module) is None)
    present = tuple(_with_version(package) for package in packages.values() if package not in absent)
    return ExtraStatus(name, present, absent, install_hint(name) if absent else None)


def _with_version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:  # importable all the same, as what JetPack installs is
        return package


def require_extra(name: str) -> None:
    """Refuse to begin what the installed packages cannot finish.

    Raises:
        MissingExtraError: Naming the packages and the command that installs them.
        MachineError: A package is there and cannot be imported.
    """
    extra = extra_status(name)
    if extra.missing is not None:
        packages = ", ".join(extra.absent)
        raise MissingExtraError(f"the packages of the extra `{name}`", f"{packages} not installed", extra.missing)
    for module, package in _EXTRAS[name].items():
        try:
            import_module(module)
        except Exception as error:  # a binary that does not load raises what it likes
            remedy = f"install it again: {install_hint(name)}"
            raise MachineError(f"a working {package}", f"{type(error).__name__}: {error}", remedy) from error
