"""Parses ONNX files with TensorRT-RTX and, where asked, builds engines; one JSON line a file.

    python tensorrt_builder.py parse|build FILE...

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


def tried(path: str, build: bool) -> dict[str, object]:
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
    config.set_compute_capability(getattr(trt.ComputeCapability, TARGET), 0)
    if "boxes" in [network.get_input(index).name for index in range(network.num_inputs)]:
        profile = builder.create_optimization_profile()
        profile.set_shape("boxes", *BOXES)
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    text = "\n".join(log.lines)
    memory = [int(found) for found in re.findall(r"Total Activation Memory: (\d+)", text)]
    accepted = engine is not None
    return {"accepted": accepted, "activation_bytes": memory[-1] if memory else None, "error": log.lines[-1][:400]}


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(json.dumps(tried(name, sys.argv[1] == "build")), flush=True)
