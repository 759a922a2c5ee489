"""What lands on the device: numpy and one backend. Imports neither torch nor onnx nor anything above it."""
