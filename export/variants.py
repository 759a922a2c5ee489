"""Which graphs a bundle holds: for each target, its parts in the precision and form that it runs best.

One mathematics has several graphs (docs/performance.md says what each is worth where). The trace of a part is made once
for each precision; forms of attention are written out from it.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..runtime.errors import UsageError
from ..runtime.profile import Profile
from .attention_forms import FORMS, written_out
from .graphs import Graph, Traced, finished, trace_decoder, trace_encoder
from .models.absorbed import AbsorbedDecoder
from .models.formed import FormedEncoder
from .models.formed_tiny_vit import formed_tiny_vit
from .models.half import Half
from .models.image_encoder import ImageEncoder
from .models.sam import Sam

# Target to the precisions and the attention form of its encoder; a decoder has one form.
TARGETS: dict[str, tuple[tuple[str, ...], str]] = {
    "openvino": (("fp32",), "tiled"),
    "onnxruntime": (("fp32",), "tiled"),
    "tensorrt": (("fp32", "fp16"), "concat"),
}
DEFAULT_TARGETS = ("openvino", "onnxruntime")
PLAIN, FOLDED, ABSORBED = "plain", "folded", "absorbed"


@dataclass(frozen=True)
class Variant:
    """One graph to be made: a part in a precision and a form, for some targets."""

    part: str
    precision: str
    form: str
    targets: tuple[str, ...]


def export_graphs(
    model: Sam, profile: Profile, targets: Sequence[str] = DEFAULT_TARGETS, form: str | None = None
) -> tuple[Graph, ...]:
    """Export every graph that the targets need.

    Args:
        model: The network.
        profile: Its normalisation goes into the encoder.
        targets: Names in `TARGETS`.
        form: "plain" for the reference modules as they are, an attention form for every target, or None for each
            target's own.

    Raises:
        UsageError: If a target or a form is not known.
    """
    wanted = variants(model, targets, form)
    graphs: list[Graph] = []
    for part, precision in sorted({(one.part, one.precision) for one in wanted}, reverse=True):
        traced = _traced(model, profile, part, precision, form == PLAIN)
        some = [one for one in wanted if (one.part, one.precision) == (part, precision)]
        graphs += [_graph(traced, one) for one in some]
    return tuple(graphs)


def variants(model: Sam, targets: Sequence[str], form: str | None = None) -> tuple[Variant, ...]:
    """List the graphs that the targets need; targets that need the same one share it.

    Raises:
        UsageError: If a target or a form is not known.
    """
    _check(targets, form)
    found: dict[tuple[str, str, str], list[str]] = {}
    for target in dict.fromkeys(targets):
        precisions, own = TARGETS[target]
        for precision in precisions:
            for part, name in (("encoder", _encoder_form(model, form or own)), ("decoder", _decoder_form(form))):
                found.setdefault((part, precision, name), []).append(target)
    return tuple(Variant(*key, tuple(names)) for key, names in found.items())


def _check(targets: Sequence[str], form: str | None) -> None:
    unknown = [target for target in targets if target not in TARGETS]
    if unknown or not targets:
        known = ", ".join(TARGETS)
        raise UsageError(f"targets among {known}", ", ".join(unknown) or "none", "name one of these after --target")
    if form not in (None, PLAIN, *FORMS):
        known = ", ".join((PLAIN, *FORMS))
        raise UsageError(f"a form among {known}", repr(form), "leave --form out to let each target have its own")


def _encoder_form(model: Sam, form: str) -> str:
    if form == PLAIN or isinstance(model.image_encoder, ImageEncoder):
        return form
    return FOLDED  # TinyViT's attention has one form: its bias is a constant


def _decoder_form(form: str | None) -> str:
    return PLAIN if form == PLAIN else ABSORBED


def _traced(model: Sam, profile: Profile, part: str, precision: str, plain: bool) -> Traced:
    made = model if plain else formed_model(model, part)
    if precision == "fp16":
        made = replaced(made, _PARTS[part], Half(made.get_submodule(_PARTS[part])))
    return trace_encoder(made, profile, fused=not plain) if part == "encoder" else trace_decoder(made, fused=not plain)


_PARTS = {"encoder": "image_encoder", "decoder": "mask_decoder"}


def formed_model(model: Sam, part: str) -> Sam:
    """Return a model of the same function, one part of which is in the shape in which it is exported."""
    if part == "decoder":
        return replaced(model, "mask_decoder", AbsorbedDecoder(model.mask_decoder))
    encoder = model.image_encoder
    made = FormedEncoder(encoder) if isinstance(encoder, ImageEncoder) else formed_tiny_vit(encoder)
    return replaced(model, "image_encoder", made)


def replaced(model: Sam, name: str, module: nn.Module) -> Sam:
    """Return a model that shares all but one module."""
    made = copy.copy(model)
    made._modules = {**model._modules, name: module}
    return made


def _graph(traced: Traced, variant: Variant) -> Graph:
    proto = written_out(traced.model, variant.form) if variant.form in FORMS else traced.model
    data = finished(proto, traced.weights)
    return Graph(traced.spec, data, variant.precision, variant.form, variant.targets, traced.weights)


def chosen(graphs: Sequence[Graph], part: str, precision: str, target: str) -> Graph:
    """Return the graph of a part that a target takes; `graphs` hold one for each that `variants` lists."""
    return next(
        graph for graph in graphs if (graph.spec.name, graph.precision) == (part, precision) and target in graph.targets
    )
