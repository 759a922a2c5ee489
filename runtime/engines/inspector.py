"""Reads what a finished engine says of its own layers (the library's inspector, in JSON).

Names of keys and of types differ between versions, so both spellings are known; what is fused into one opaque layer is
counted as such, and never taken for a proof.
"""

import json
from collections import Counter

from .engine_file import LayerShare

_TYPES = (
    ("fp16", ("half", "fp16")),
    ("bf16", ("bf16", "bfloat16")),
    ("int8", ("int8",)),
    ("fp8", ("fp8",)),
    ("fp32", ("float", "fp32")),
    ("integer", ("int32", "int64", "bool", "uint8")),
)
_OPAQUE = ("myelin", "foreignnode", "{foreign")
_FUSED = ("mha", "attention", "flash")
_OPEN = ("softmax",)


def layers_from_json(text: str) -> LayerShare | None:
    """Count an engine's layers by the type of their first output; None where the text is no such description."""
    try:
        listed = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return None
    layers = [layer for layer in listed if isinstance(layer, dict)]  # names only, where the engine keeps no details
    if not layers:
        return None
    by_type = Counter(_type_of(layer) for layer in layers)
    opaque = sum(_is_opaque(layer) for layer in layers)
    return LayerShare(dict(by_type), opaque, _attention(layers, opaque))


def _attention(layers: list[dict[str, object]], opaque: int) -> str:
    names = [_words(layer) for layer in layers if not _is_opaque(layer)]
    if any(word in name for name in names for word in _OPEN):
        return "not fused"
    if any(word in name for name in names for word in _FUSED):
        return "fused"
    return "unproven" if opaque else "not fused"


def _is_opaque(layer: dict[str, object]) -> bool:
    kind, name = str(layer.get("LayerType", "")).lower(), str(layer.get("Name", "")).lower()
    return any(word in kind or name.startswith(word) for word in _OPAQUE)


def _words(layer: dict[str, object]) -> str:
    keys = ("Name", "LayerType", "TacticName", "ParameterType")
    return " ".join(str(layer.get(key, "")) for key in keys).lower()


def _type_of(layer: dict[str, object]) -> str:
    outputs = layer.get("Outputs")
    first = outputs[0] if isinstance(outputs, list) and outputs else {}
    text = str(first.get("Format/Datatype", first.get("Datatype", "")) if isinstance(first, dict) else "").lower()
    return next((kind for kind, words in _TYPES if any(word in text for word in words)), "unknown")
