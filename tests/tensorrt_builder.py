"""Parses ONNX files with TensorRT-RTX and, where asked, builds engines; one JSON line a file.

    python tensorrt_builder.py parse|build|build-SM89 FILE...

NVIDIA's parser and strongly typed builder need no GPU. A process of its own, because a native fault must fail a test
and not the test run. Everything native is kept in a variable until the end: the bindings do not keep it alive.
"""

import json
import re
import sys
from pathlib import Path

import tensorrt_rtx as trt  # type: ignore[import-not-found, unused-ignore]

TARGET = "SM86"  # the nearest to a Jetson Orin (8.7) that this flavour knows
BOXES = ((1, 4), (4, 4), (16, 4))  # least, usual, most


class Log(trt.ILogger):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, _severity: object, message: str) -> None:
        self.lines.append(message)


def products(text: str) -> dict[str, int]:
    """Count the engine's matrix products and convolutions by the types of the two tensors that they multiply.

    What was fused bears the name of what was fused into it; "Fc" is Myelin's word for a matrix product with a constant.
    """
    found: dict[str, int] = {}
    for line in text[text.find("\nLayers:\n") :].splitlines():
        match = re.match(r"Name: (\S+), LayerType: (\w+), Inputs: (.*?), Outputs:", line)
        if match and (match[2] in ("gemm", "correlation") or "_Fc" in match[1]):
            types = "x".join(re.findall(r"Datatype: (\w+)", match[3])[:2])
            found[types] = found.get(types, 0) + 1
    return found


def tried(path: str, build: bool, target: str = TARGET) -> dict[str, object]:
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(Path(path).read_bytes()):
        return {"accepted": False, "error": parser.get_error(0).desc()}
    config = builder.create_builder_config()
    if not build:
        return {"accepted": True, "layers": network.num_layers}
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the log then lists the engine's layers with types
    if "boxes" in [network.get_input(index).name for index in range(network.num_inputs)]:
        profile = builder.create_optimization_profile()
        profile.set_shape("boxes", *BOXES)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    text = "\n".join(log.lines)
    memory = [int(found) for found in re.findall(r"Total Activation Memory: (\d+)", text)]
    return {
        "accepted": engine is not None,
        "activation_bytes": memory[-1] if memory else None,
        "products": products(text),
        "error": log.lines[-1][:400],
    }


if __name__ == "__main__":
    verb, _, capability = sys.argv[1].partition("-")
    for name in sys.argv[2:]:
        print(json.dumps(tried(name, verb == "build", capability or TARGET)), flush=True)
