"""Checkpoint in, bundle out. Needs torch and onnx (the `export` extra); knows nothing of benchmarks or the CLI."""
