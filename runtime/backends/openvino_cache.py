"""OpenVINO's compiled models in a state folder: exported once, imported at each later start.

The library's own CACHE_DIR loads a damaged blob without a word, so the folder's hash stands before every import. And an
import that is not told the precision again takes the device's own (bf16 where the processor has it), so it is told, and
what came of it is read back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from medsam_edge import __version__

from ..errors import MedSAMEdgeError
from ..machine import processor_features
from ..state import CacheStatus, StateFolder, brief, origin_of
from ..state_manifest import BlobEntry, BlobKey
from .base import BackendChoice, GraphSource

if TYPE_CHECKING:
    import openvino

# The library's answers that tell two devices of one name apart: a driver's update makes other code.
_FACTS = ("FULL_DEVICE_NAME", "DEVICE_ARCHITECTURE", "DRIVER_VERSION", "COMPILER_VERSION", "UARCH_VERSION")


def open_model(
    core: openvino.Core,
    source: GraphSource,
    choice: BackendChoice,
    properties: dict[str, object],
    state: StateFolder | None,
) -> tuple[openvino.CompiledModel, CacheStatus]:
    """Import the compiled model from the state folder, or compile the graph and keep it there.

    A folder that cannot be written never stands in the way: the status says what was lost.

    Raises:
        RuntimeError, MemoryError: What the library says of the graph.
        BundleError: If the graph's file is not the bundle's.
    """
    if state is None:
        return _compile(core, source, choice, properties), CacheStatus("off")
    key, origin = model_key(core, source, choice, properties), origin_of(source.path.parent)
    model, reason = _imported(core, key, properties, state, origin)
    if model is not None:
        return model, CacheStatus("reused")
    model = _compile(core, source, choice, properties)
    unsaved = _keep(model, key, state, origin)
    return model, CacheStatus("rebuilt" if reason else "built", reason, unsaved)


def precision_of(model: openvino.CompiledModel) -> str:
    """Return the precision in which a compiled model says that it computes."""
    return str(model.get_property("INFERENCE_PRECISION_HINT").to_string())


def model_key(
    core: openvino.Core, source: GraphSource, choice: BackendChoice, properties: dict[str, object]
) -> BlobKey:
    """Gather everything that can change what the library makes of a graph."""
    import openvino

    known = core.get_property(choice.device, "SUPPORTED_PROPERTIES")
    facts = {name: _fact(core, choice.device, name) for name in sorted(known) if name.endswith(_FACTS)}
    return BlobKey(
        part=source.part.name,
        graph=source.sha256,
        graph_precision=choice.graph,
        backend=choice.name,
        version=str(openvino.get_version()),
        device=choice.device,
        device_facts=facts,
        capabilities=(*_formats(core, choice.device), *processor_features()),
        precision=choice.precision,
        threads=choice.threads,
        properties={name: str(value) for name, value in properties.items()},
        toolkit_version=__version__,
    )


def _formats(core: openvino.Core, device: str) -> list[str]:
    try:
        return sorted(map(str, core.get_property(device, "OPTIMIZATION_CAPABILITIES")))
    except RuntimeError:  # a plug-in need not know the word: its device is told apart by its facts alone
        return []


def _fact(core: openvino.Core, device: str, name: str) -> str:
    try:
        return str(core.get_property(device, name))
    except RuntimeError:  # a driver may list what it does not answer
        return "unknown"


def _compile(
    core: openvino.Core, source: GraphSource, choice: BackendChoice, properties: dict[str, object]
) -> openvino.CompiledModel:
    source.verify()
    return core.compile_model(str(source.path), choice.device, properties)


def _imported(
    core: openvino.Core, key: BlobKey, properties: dict[str, object], state: StateFolder, origin: str
) -> tuple[openvino.CompiledModel | None, str]:
    """The model, or None and why what the folder holds does not serve."""
    entry, reason = state.find(key, origin)
    if entry is None:
        return None, reason
    try:
        model = _import(core, entry, properties, state)
        found = precision_of(model)
    except MedSAMEdgeError as error:
        return None, brief(error)
    except Exception as error:  # whatever the library has against a blob, the graph is still there
        return None, f"OpenVINO could not import it: {brief(error)}"
    return (model, "") if found == key.precision else (None, f"imported, it computes in {found}, not {key.precision}")


def _import(
    core: openvino.Core, entry: BlobEntry, properties: dict[str, object], state: StateFolder
) -> openvino.CompiledModel:
    import openvino

    state.check_size(entry)
    # The library's own memory, which the imported model goes on using and keeps alive; with an array of ours or a
    # mapped file it would read freed memory once that is gone. It also spares the copy that `bytes` costs.
    tensor = openvino.Tensor(openvino.Type.u8, [entry.bytes])
    state.fill(entry, memoryview(tensor.data))
    try:
        return core.import_model(tensor, entry.key.device, properties)
    except TypeError:  # OpenVINO 2025.1 takes bytes only
        return core.import_model(np.asarray(tensor.data).tobytes(), entry.key.device, properties)


def _keep(model: openvino.CompiledModel, key: BlobKey, state: StateFolder, origin: str) -> str:
    """Store a model for the next start; say why that was impossible."""
    if (found := precision_of(model)) != key.precision:
        return f"it computes in {found}, not {key.precision}"
    try:
        state.store(key, origin, model.export_model().getbuffer())
    except MedSAMEdgeError as error:
        return brief(error)
    except (RuntimeError, MemoryError) as error:
        return f"OpenVINO could not export it: {brief(error)}"
    return ""
