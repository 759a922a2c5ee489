"""What is installed here, and the command that installs what is not. It imports backends, and compiles nothing."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from .backends.base import BACKENDS
from .backends.choose import NO_GPU, BackendStatus, install_hint, status
from .engines.board import Board, SystemPython, read_board, system_pythons
from .engines.gpu import Gpu, gpu
from .engines.sensors import Sensors, sensors
from .engines.system_files import SystemFiles
from .errors import DriverError, MachineError, MissingExtraError
from .machine import memory_gib, processor_features, processor_name

# Extra to the modules that it brings and their distributions' names.
_EXTRAS = {
    "export": {"torch": "torch", "onnx": "onnx", "onnxscript": "onnxscript", "safetensors": "safetensors"},
    "tensorrt": {"tensorrt": "tensorrt", "pycuda": "pycuda"},
    "tensorrt-rtx": {"tensorrt_rtx": "tensorrt-rtx"},
    "cuda-python": {"cuda.bindings": "cuda-bindings"},
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


Status = TypeVar("Status", BackendStatus, ExtraStatus)


@dataclass(frozen=True)
class Jetson:
    """The board, where this is one.

    Attributes:
        board: Model, system, memory, power mode.
        sensors: Clocks, temperatures, power.
        pythons: The system's Pythons that have TensorRT.
        this_python: Whether the Python that runs this one finds it.
        remedy: What to do where only another Python has it, or None.
    """

    board: Board
    sensors: Sensors
    pythons: tuple[SystemPython, ...]
    this_python: bool
    remedy: str | None


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found. `driver` is the GPU's own word, or why there is none; `jetson` is None elsewhere."""

    python: str
    system: str
    processor: str
    features: tuple[str, ...]
    memory_gib: float
    backends: tuple[BackendStatus, ...]
    extras: tuple[ExtraStatus, ...]
    gpu: Gpu | None = None
    no_gpu: str = ""
    jetson: Jetson | None = None


def diagnose(root: Path = Path("/")) -> Diagnosis:
    """Look at this machine; `root` stands for `/`, so that tests have boards of their own."""
    board, (found, no_gpu) = jetson(SystemFiles(root)), _gpu()
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        features=processor_features(),
        memory_gib=round(memory_gib(), 1),
        backends=tuple(_on_board(status(name), board) for name in BACKENDS if name != "fake"),
        extras=tuple(_on_board(extra_status(name), board) for name in _EXTRAS),
        gpu=found,
        no_gpu=no_gpu,
        jetson=board,
    )


def _gpu() -> tuple[Gpu | None, str]:
    try:
        return gpu(), ""
    except DriverError as error:
        return None, error.found


def jetson(files: SystemFiles) -> Jetson | None:
    """Read the board and its sensors; None where this is no Jetson."""
    board = read_board(files)
    if board.l4t is None:
        return None
    pythons, here = system_pythons(files), find_spec("tensorrt") is not None
    return Jetson(board, sensors(files), pythons, here, None if here else _python_remedy(pythons))


def _on_board(found: Status, board: Jetson | None) -> Status:
    """On a Jetson TensorRT comes with the system; what pip offers is another one, or none at all."""
    if board is None or found.name != "tensorrt" or found.missing is None or found.missing == NO_GPU:
        return found
    return replace(found, missing=board.remedy or "pip install pycuda")


def _python_remedy(pythons: Sequence[SystemPython]) -> str:
    if not pythons:
        return "sudo apt install nvidia-jetpack"
    version = pythons[-1].version
    return f"/usr/bin/python{version} -m venv --system-site-packages ENV"


def extra_status(name: str) -> ExtraStatus:
    """Look for the packages of one extra, without importing them."""
    packages = _EXTRAS[name]
    absent = tuple(package for module, package in packages.items() if not _installed(module))
    present = tuple(_with_version(package) for package in packages.values() if package not in absent)
    return ExtraStatus(name, present, absent, install_hint(name) if absent else None)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that holds it is not here either
        return False


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
