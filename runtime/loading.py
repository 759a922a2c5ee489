"""Opens a bundle on a backend: `load`, the door to everything that a `Predictor` does.

It joins what reads bundles, what opens graphs and what keeps compiled models, and computes nothing itself.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from .backends.base import TENSORRT, Backend, BackendChoice, GraphSource, label
from .backends.choose import open_cached, resolve, status
from .bundle import Bundle, open_bundle, open_unhashed, verify_graph
from .contract import check_contract
from .errors import BundleError, UsageError
from .manifest import GraphEntry, PartSpec
from .predictor import MAX_BOXES, Predictor, ServedBy
from .profile import Profile
from .state import CacheStatus, StateFolder


def load(
    bundle: str | Path | Bundle,
    backend: str = "auto",
    *,
    max_boxes: int = MAX_BOXES,
    threads: int | None = None,
    state: str | Path | None = None,
    unjudged: bool = False,
) -> Predictor:
    """Open a bundle on a backend; every file is hashed before a native parser sees it.

    Args:
        bundle: The folder that `medsam-edge export` wrote, or an opened bundle.
        backend: `auto`, or a name such as `onnxruntime`, `openvino`, `openvino:GPU`, `openvino:CPU:int8`.
        max_boxes: Boxes per decoder call.
        threads: CPU threads, or None for the backend's own choice (all physical cores).
        state: A folder of this device for compiled models, which make the next start faster (docs/state.md); made
            where it is not there, and then a graph that it serves is not read at all. None: nothing is written, and
            TensorRT's engines are read from where `build` puts them.
        unjudged: Open an int8 graph also where nobody judged its masks, to measure or verify it.

    Raises:
        UsageError: If `max_boxes` is below 1, no backend has this name, or `state` holds something else.
        StorageError: If others may write to the folder `state`.
        BundleError: If the bundle is incomplete, altered, of another kind, or has no graph judged for this backend.
        MissingExtraError: If the backend is not installed.
        EngineError: If TensorRT has no engine of this bundle for this device; `medsam-edge build` makes it.
        MachineError: If the device is not there, or does not compute in the precision that was asked for.
    """
    if max_boxes < 1:
        raise UsageError("at least one box per decoder call", str(max_boxes), "set max_boxes to 1 or more")
    folder = None if state is None else StateFolder(state)
    opened = _opened(bundle, later=folder is not None)
    choice = replace(resolve(backend), threads=threads)
    profile = Profile.from_dict(opened.manifest.profile)
    parts, trained = check_contract(opened.manifest, profile), opened.manifest.model.trained
    if not unjudged:
        _check_judged(entry_of(opened, "encoder", choice), choice)
    sources = {name: _source(opened, part, entry_of(opened, name, choice)) for name, part in parts.items()}
    return predictor_of(profile, sources, choice, trained=trained, max_boxes=max_boxes, state=folder)


def predictor_of(
    profile: Profile,
    sources: dict[str, GraphSource],
    choice: BackendChoice,
    *,
    trained: bool = True,
    max_boxes: int = MAX_BOXES,
    state: StateFolder | None = None,
) -> Predictor:
    """Open an encoder and a decoder, from a bundle or not yet in one; arguments as `load`, raises what it raises.

    Args:
        profile: The pre- and post-processing contract.
        sources: By the names "encoder" and "decoder".
        choice: The backend.
        trained: Whether the weights are; results say so.
        max_boxes: Boxes per decoder call.
        state: The folder of compiled models.
    """
    encoder, decoder, cache = open_both(sources, choice, state)
    graphs = {part: sources[part].sha256 for part in ("encoder", "decoder")}
    version, precision = status(choice.name).version or "", label(choice.graph, encoder.precision)
    max_boxes = min(max_boxes, getattr(decoder, "max_boxes", max_boxes))  # an engine has profiles up to a number
    served_by = ServedBy(choice.name, version, choice.device, precision, graphs, trained)
    return Predictor(profile, encoder, decoder, served_by, max_boxes, cache)


def open_both(
    sources: dict[str, GraphSource], choice: BackendChoice, folder: StateFolder | None
) -> tuple[Backend, Backend, dict[str, CacheStatus]]:
    """Open encoder and decoder, or neither; the third is how each was opened."""
    encoder, first = open_cached(sources["encoder"], choice, folder)
    try:
        decoder, second = open_cached(sources["decoder"], decoder_choice(choice), folder)
    except BaseException:
        encoder.close()
        raise
    return encoder, decoder, {"encoder": first, "decoder": second}


def decoder_choice(choice: BackendChoice) -> BackendChoice:
    """Keep the decoder in float32: in 16 bits its box coordinates are off by pixels. An NPU offers nothing else.

    TensorRT's float16 decoder has its coordinates in float32 by the types of its graph; an int8 encoder takes it too.
    """
    if choice.name in TENSORRT:
        return replace(choice, graph="fp32" if choice.graph == "fp32" else "fp16")
    return replace(choice, graph="fp32", precision=choice.precision if choice.device.startswith("NPU") else "f32")


def _opened(bundle: str | Path | Bundle, later: bool) -> Bundle:
    if isinstance(bundle, Bundle):
        return bundle
    return open_unhashed(bundle) if later else open_bundle(bundle)


def entry_of(bundle: Bundle, part: str, choice: BackendChoice) -> GraphEntry:
    """Return the graph of a part that a choice runs: an encoder in int8 has a float decoder beside it.

    Raises:
        BundleError: If the bundle has none; the message lists what there is.
    """
    own = choice if part == "encoder" else decoder_choice(choice)
    return bundle.entry(part, own.graph, target_of(choice))


def _check_judged(entry: GraphEntry, choice: BackendChoice) -> None:
    """Refuse an encoder that was kept for another device, or with its other operators in another precision."""
    if not entry.judged or choice.name == "fake" or str(choice) in entry.judged:
        return
    there = f"judged on {', '.join(entry.judged)} only"
    remedy = "name one of these, or `verify` it here and open it by load(…, unjudged=True)"
    raise BundleError(f"an encoder in {entry.precision} whose masks were judged on {choice}", there, remedy)


def _source(bundle: Bundle, part: PartSpec, entry: GraphEntry) -> GraphSource:
    source = GraphSource(bundle.root / entry.file, part, entry.sha256)
    return source if bundle.hashed else replace(source, verify=partial(verify_graph, bundle.root, entry))


def target_of(choice: BackendChoice) -> str | None:
    """Return which of a bundle's graphs a backend takes: those made for it."""
    if choice.name == "fake":  # it runs no graph, so any will do
        return None
    return "tensorrt" if choice.name in TENSORRT else choice.name
