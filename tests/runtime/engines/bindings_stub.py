"""Imports the real Python bindings of one TensorRT without TensorRT, and asks them for names; a process of its own.

    python bindings_stub.py FOLDER_WITH_WHEEL_UNPACKED FOLDER_FOR_LIBRARIES NAMES.json

The bindings are linked against three libraries, of which they need a few functions when they load. An empty library
with these names, compiled here, is enough to import them; nothing in it can be called to any purpose. Prints JSON: the
version and the names that are missing.
"""

import ctypes
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
MODULE = "tensorrt_bindings"


def compile_libraries(folder: Path, major: str) -> list[Path]:
    """Compile one source under the names that the bindings of a major version ask the linker for."""
    source = folder / "stub.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in FUNCTIONS) + "\n")
    made = []
    for name in LIBRARIES:
        soname = f"lib{name}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(folder / soname), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        made.append(folder / soname)
    return made


def missing(trt: object, names: dict[str, list[str]]) -> list[str]:
    """The names that a module lacks: of its classes, and under "module" its own."""
    absent = [name for name in names["module"] if not hasattr(trt, name)]
    for kind in (kind for kind in names if kind != "module"):
        held = getattr(trt, kind, None)
        absent += [f"{kind}.{name}" for name in names[kind] if not hasattr(held, name)]
    return absent


def main(wheel: Path, scratch: Path, names: Path) -> None:
    (info,) = wheel.glob("*.dist-info")
    major = info.name.removesuffix(".dist-info").rpartition("-")[2].split(".")[0]
    for library in compile_libraries(scratch, major):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)  # under their sonames, so that the linker looks no further
    sys.path.insert(0, str(wheel))
    trt = import_module(MODULE)
    print(json.dumps({"version": str(trt.__version__), "missing": missing(trt, json.loads(names.read_text()))}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
