"""Runs a graph over images and keeps statistics of chosen tensors inside it, and none of their values.

The tensors become the outputs of a cut of the graph, which ONNX Runtime runs on the CPU. They are read one image at a
time, in as many passes over the images as a byte budget asks for. Its caller decides which tensors, and what for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnxruntime

from ..runtime.backends.base import failure
from ..runtime.errors import BundleError, UsageError
from ..runtime.files import read_bytes
from ..runtime.store import MAX_GRAPH_BYTES
from ..runtime.types import AnyArray
from .graph_tensors import channel_axes, check_tensors, cut, groups, tensor_bytes
from .tensor_statistics import Accumulator, Statistics

BUDGET_BYTES = 2 << 30
"""Enough for every linear layer's input of a ViT-B at 1024 pixels at once: 1.2 GB."""


class Feeds(Protocol):
    """Inputs of the graph, image by image: a list, or anything that makes them anew each time it is gone through."""

    def __len__(self) -> int:
        """How many images there are."""

    def __iter__(self) -> Iterator[Mapping[str, AnyArray]]:
        """Go through them, each a mapping of the graph's input names to arrays."""


def observed(
    model: onnx.ModelProto | str | Path,
    tensors: Sequence[str],
    feeds: Feeds,
    *,
    axes: Mapping[str, int] | None = None,
    budget_bytes: int = BUDGET_BYTES,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Statistics]:
    """Observe tensors of a graph.

    Memory: four times the graph's weights while a pass starts, the activations of one image with at most
    `budget_bytes` of observed ones, and 40 kB a tensor.

    Args:
        model: The graph, or its file; not changed.
        tensors: Float tensors that nodes of the graph make, or inputs of it.
        feeds: The images; gone through once for each group of tensors that fits into the budget.
        axes: Channel axis of tensors where `channel_axes` would guess another than is meant.
        budget_bytes: For the observed tensors of one image.
        threads: CPU threads; None leaves the number to ONNX Runtime.
        progress: Told the runs done and how many there are, after each. What it raises ends the work.

    Raises:
        UsageError: No such tensor, none of floats, other inputs than the graph's, no images, or none a second time.
        MeasurementError: A tensor holds NaN or infinity.
        BundleError, StorageError: ONNX Runtime cannot load the graph, or the file cannot be read.
        BackendError, DeviceMemoryError: ONNX Runtime failed.
    """
    graph = model if isinstance(model, onnx.ModelProto) else _read(Path(model))
    check_tensors(graph, tensors)
    _check_feeds(feeds)
    places = channel_axes(graph, tensors) | dict(axes or {})
    found = {name: Accumulator(name, places[name]) for name in tensors}
    plan = groups(graph, tensor_bytes(graph, found), budget_bytes)
    for number, names in enumerate(plan):
        for done in _taken(graph, {name: found[name] for name in names}, feeds, threads):
            progress(number * len(feeds) + done, len(plan) * len(feeds))
    return {name: accumulator.result() for name, accumulator in found.items()}


def _read(path: Path) -> onnx.ModelProto:
    data = read_bytes(path, MAX_GRAPH_BYTES)
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own class, of a package that is not ours to import
        raise BundleError("an ONNX graph", f"{path}: {error}", "export the bundle again") from error


def _check_feeds(feeds: Feeds) -> None:
    if not hasattr(feeds, "__len__"):
        raise _once(f"a {type(feeds).__name__}")
    if not len(feeds):
        raise UsageError("at least one image to observe the graph on", "none", "give some")


def _once(found: str) -> UsageError:
    remedy = "give a list, or an object with __len__ and __iter__"
    return UsageError("images that can be counted and gone through again", found, remedy)


def _session(data: bytes, threads: int | None) -> Any:  # noqa: ANN401 - the library has no types
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # A pattern would hold one more block as large as all activations of a run together.
    options.enable_mem_pattern = False
    # Spinning threads would slow down the counting between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises a dozen unrelated classes
        remedy = "install a newer onnxruntime, or export the bundle again"
        raise BundleError("a graph that this ONNX Runtime can load", str(error), remedy) from error


def _taken(
    graph: onnx.ModelProto, accumulators: Mapping[str, Accumulator], feeds: Feeds, threads: int | None
) -> Iterator[int]:
    """Feed the images one by one, and count them. The session ends with the pass: the next one needs its memory."""
    session = _session(cut(graph, list(accumulators)).SerializeToString(), threads)
    inputs = {value.name for value in session.get_inputs()}
    done = 0
    for done, feed in enumerate(feeds, start=1):
        if set(feed) != inputs:
            wanted, given = ", ".join(sorted(inputs)), ", ".join(sorted(feed))
            raise UsageError(f"the inputs {wanted}", given or "none", "feed exactly the graph's inputs")
        _take(session, accumulators, feed)
        yield done
    if done != len(feeds):
        raise _once(f"{done} of {len(feeds)} in this pass")


def _take(session: Any, accumulators: Mapping[str, Accumulator], feed: Mapping[str, AnyArray]) -> None:  # noqa: ANN401
    try:
        values = session.run(list(accumulators), dict(feed))
    except Exception as error:
        raise failure("ONNX Runtime", error) from error
    values.reverse()
    for accumulator in accumulators.values():
        accumulator.update(values.pop())  # the list gives each up before the next is counted
