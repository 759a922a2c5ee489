"""Holds exported graphs against the source checkpoint on the backends of this machine, before a bundle has them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..runtime.backends.base import GraphSource
from ..runtime.backends.choose import EXTRAS, available, install_hint, resolve
from ..runtime.errors import MissingExtraError
from ..runtime.files import temporary_folder, write_atomic
from ..runtime.golden import Golden
from ..runtime.loading import predictor_of
from ..runtime.parity import (
    HALF,
    Check,
    Limits,
    compare_golden,
    iou_check,
    mask_check,
    require,
    self_consistency,
    tensor_check,
)
from ..runtime.predictor import Predictor
from ..runtime.profile import Profile
from .graphs import Graph
from .variants import Variant, chosen

Say = Callable[[str], None]

CHECKED_ON = {"tensorrt": "onnxruntime"}


def check_backends(wanted: Sequence[Variant]) -> None:
    """Refuse graphs that nothing here could hold against the source.

    Raises:
        MissingExtraError: If the backend that would check them is not installed.
    """
    here = available()
    for variant in wanted:
        backends = [CHECKED_ON.get(target, target) for target in variant.targets]
        if not set(backends) & set(here):
            raise MissingExtraError(
                f"{backends[0]} to check the {variant.part} for {variant.targets[0]} with",
                ", ".join(here) or "no backend at all",
                install_hint(EXTRAS[backends[0]]),
            )


def check_backend(
    name: str, graphs: Sequence[Graph], profile: Profile, golden: Sequence[Golden], folder: Path, limits: Limits
) -> tuple[Check, ...]:
    """Run golden cases through an encoder and a decoder graph on one backend: tensors, masks, consistency."""
    with opened(name, graphs, profile, folder) as predictor:
        rows = [compare_golden(predictor, case) for case in golden]
        tensors = [row.tensor for row in rows]
        return (
            tensor_check(tensors, limits),
            iou_check(tensors, limits),
            mask_check([mask for row in rows for mask in row.masks], limits),
            *self_consistency(predictor, [row.answered for row in rows], limits),
        )


@contextmanager
def opened(name: str, graphs: Sequence[Graph], profile: Profile, folder: Path) -> Iterator[Predictor]:
    """Open an encoder and a decoder graph that are in no bundle yet."""
    sources = {graph.spec.name: _source(graph, folder) for graph in graphs}
    with predictor_of(profile, sources, resolve(name)) as predictor:
        yield predictor


@dataclass(frozen=True)
class Trial:
    """A pair of graphs to be checked on a backend of this machine, under the label that its record has."""

    label: str
    backend: str
    graphs: tuple[Graph, Graph]
    limits: Limits


def trials(graphs: Sequence[Graph], backends: Sequence[str]) -> Iterator[Trial]:
    """List what can be checked here: each backend its own graphs, and ONNX Runtime those for TensorRT too.

    TensorRT itself needs an NVIDIA GPU; what is shown without one is that the graphs are right.
    """
    for target, precision in sorted({(target, graph.precision) for graph in graphs for target in graph.targets}):
        backend = CHECKED_ON.get(target, target)
        if backend in backends:
            pair = (chosen(graphs, "encoder", precision, target), chosen(graphs, "decoder", precision, target))
            label = backend if target == backend else f"{backend} ({precision} graphs for {target})"
            yield Trial(label, backend, pair, HALF if precision == "fp16" else Limits())


def checked(
    graphs: Sequence[Graph], profile: Profile, golden: Sequence[Golden], gating: bool, say: Say
) -> Iterator[tuple[str, tuple[Check, ...]]]:
    """Hold every graph against the source's answers; yield what is tried, with its checks.

    Raises:
        ParityError: If a check failed, unless `gating` is False (random weights).
    """
    for trial in trials(graphs, available()):
        say(f"comparing {trial.label} with the source")
        with temporary_folder() as folder:
            checks = check_backend(trial.backend, trial.graphs, profile, golden, folder, trial.limits)
        if gating:
            require(checks, trial.label)
        yield trial.label, checks


def _source(graph: Graph, folder: Path) -> GraphSource:
    path = folder / f"{graph.spec.name}.onnx"
    write_atomic(path, graph.data)
    for weights in graph.weights:
        write_atomic(folder / weights.name, weights.data)
    return GraphSource(path, graph.spec, sha256(graph.data).hexdigest())
