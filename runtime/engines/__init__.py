"""TensorRT engines: how one is built, proven and kept on the device that runs it. No torch, no onnx.

Running them is `runtime/backends/tensorrt.py`. What is explained to people stands in docs/tensorrt.md.
"""
