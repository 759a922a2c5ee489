"""What lands on the device: numpy and one backend. Imports neither torch nor onnx nor anything above it.

from medsam_edge.runtime import load

with load("demo.bundle") as predictor:
    embedding = predictor.embed(image)                       # uint8 (H, W, 3), once per image
    prediction = predictor.predict(embedding, [[40, 30, 180, 160]])
    prediction.masks                                         # bool (1, H, W)
"""

from .bundle import Bundle, open_bundle
from .errors import MedSAMEdgeError
from .loading import load
from .predictor import Embedding, Prediction, Predictor, ServedBy, Timings

__all__ = [
    "Bundle",
    "Embedding",
    "MedSAMEdgeError",
    "Prediction",
    "Predictor",
    "ServedBy",
    "Timings",
    "load",
    "open_bundle",
]
