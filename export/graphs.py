"""From torch modules to ONNX bytes that keep the graph contract (docs/bundle.md).

Static shapes but for N, opset 18, ir_version 10, one self-contained file a part unless its weights are too many for
one, checked by ONNX's own checker. It knows nothing of checkpoints and bundles.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import nn

from ..runtime.contract import decoder_part, encoder_part
from ..runtime.manifest import PartSpec
from ..runtime.profile import Profile
from .fused import TRANSLATIONS
from .models.normalisation import normalisation_of
from .models.sam import DecoderGraph, EncoderGraph, Sam
from .separate_weights import Weights, check, separated

OPSET = 18
IR_VERSION = 10  # the newest that ONNX Runtime 1.23 reads


@dataclass(frozen=True)
class Graph:
    """One exported part: its interface, its ONNX bytes, and which of several equivalent graphs it is.

    Attributes:
        spec: The part's interface; the same for all graphs of the part.
        data: The ONNX file.
        precision: "fp32", or "fp16" for a typed float16 graph with float32 inputs, outputs and norms.
        form: How the same mathematics is written (docs/bundle.md); "plain" is the reference model as it is.
        targets: The backends that it is for.
        weights: The file that `data` refers to, where it cannot hold its weights itself.
    """

    spec: PartSpec
    data: bytes
    precision: str = "fp32"
    form: str = "plain"
    targets: tuple[str, ...] = ()
    weights: tuple[Weights, ...] = ()


@dataclass(frozen=True)
class Traced:
    """A part in ONNX before it is finished; it may still hold nodes of our own to be written out."""

    spec: PartSpec
    model: onnx.ModelProto
    weights: tuple[Weights, ...] = ()


def trace_encoder(model: Sam, profile: Profile, *, fused: bool = True) -> Traced:
    """Trace `image` uint8 `[1, 3, S, S]` to `image_embedding` float32 `[1, 256, E, E]`.

    Args:
        model: The network.
        profile: Its normalisation goes into the graph, with a second input `valid_hw` where it takes one.
        fused: Write operators as runtimes fuse them (fused.py), not as the exporter would.
    """
    config = model.config
    spec = encoder_part(config.image_size, config.grid, config.prompt_dim, valid_hw=profile.takes_valid_hw)
    side = config.image_size
    image = torch.arange(3 * side * side, dtype=torch.int64).remainder(251).to(torch.uint8)
    inputs = (image.reshape(1, 3, side, side), torch.tensor([side, side - 1], dtype=torch.int32))
    return _traced(EncoderGraph(model, normalisation_of(profile)), inputs[: len(spec.inputs)], spec, None, fused)


def trace_decoder(model: Sam, *, fused: bool = True) -> Traced:
    """Trace `image_embedding` and `boxes` `[N, 4]` to `low_res_logits` `[N, 1, 4E, 4E]` and `iou_predictions`."""
    spec = decoder_part(model.config.grid, model.config.prompt_dim)
    embedding = torch.zeros(1, model.config.prompt_dim, model.config.grid, model.config.grid)
    # Three boxes: torch would take one for a constant and two for a coincidence with the box's two corners.
    boxes = torch.tensor([[8.0, 8.0, 64.0, 64.0]]).repeat(3, 1)
    dynamic = {"image_embedding": None, "boxes": {0: torch.export.Dim("N", min=1, max=65536)}}
    return _traced(DecoderGraph(model), (embedding, boxes), spec, dynamic, fused)


def _traced(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], spec: PartSpec, dynamic: dict[str, Any] | None, fused: bool
) -> Traced:
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            custom_translation_table=TRANSLATIONS if fused else None,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return Traced(spec, *separated(program))


def finished(model: onnx.ModelProto, weights: tuple[Weights, ...] = ()) -> bytes:
    """Pin the versions that old runtimes read, drop the exporter's notes, check, serialise."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "medsam-edge", ""
    del model.metadata_props[:]
    for node in model.graph.node:
        # Stack traces with the paths of the machine that exported: of no use on a device, and not its business.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    check(model, weights)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about packages nobody needs off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
