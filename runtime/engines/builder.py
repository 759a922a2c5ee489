"""Builds one engine in this process: parse, count types, set limits, build, write. It may die; `attempts` watches it.

Precision is nobody's option here: the network is strongly typed and the types stand in the ONNX file. Everything native
is held in one object until the build is over, because the bindings do not keep each other alive.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ..errors import BundleError, DriverError
from ..files import explained as explained_path
from .census import Census, census_of, require_precision
from .engine_file import EngineFacts, LayerShare, Port, header
from .gpu import gpu
from .inspector import layers_from_json
from .library import library
from .listeners import Messages, Step, logger_of, monitor_of
from .options import BuildOptions
from .sentences import explained, unsupported

_TYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64",
    "BOOL": "bool", "BF16": "bfloat16",
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One engine to build.

    Attributes:
        graph: The typed ONNX file.
        part: "encoder" or "decoder".
        precision: What the bundle calls the graph, "fp16".
        options: How.
        out: The file for the engine with its facts.
        timing: The file of tactics' times, read where it is there and written anew.
    """

    graph: str
    part: str
    precision: str
    options: BuildOptions
    out: str
    timing: str


@dataclass
class _Native:
    """Every native object of a build, so that none goes before another that needs it."""

    trt: Any
    logger: Any
    builder: Any
    network: Any
    parser: Any
    config: Any
    monitor: Any = None
    timing: Any = None


def build(order: Order, step: Step) -> EngineFacts:
    """Build an engine and write it to `order.out`.

    Args:
        order: What to build.
        step: Told of the builder's progress.

    Raises:
        MissingExtraError, MachineError: As `library`.
        DriverError: The library finds no GPU, and needs one.
        BundleError: The parser refuses the graph; the node is named.
        ParityError: Its types are not those that were asked for.
        DeviceMemoryError: Too little workspace or memory.
        BackendError: Whatever else the builder says.
    """
    begin, messages = perf_counter(), Messages()
    native = _parsed(order, messages)
    census = census_of(native.trt, native.network)
    require_precision(census, order.precision, order.part)
    sizes = _set_up(native, order, step)
    plan = native.builder.build_serialized_network(native.network, native.config)
    if plan is None:
        raise explained(messages.errors(), "to build an engine", order.part)
    if _keeps_times(order):
        _keep_timing(native, Path(order.timing))
    loaded = _loaded(native, plan)
    facts = _facts(order, native.network, census, messages, sizes, loaded, perf_counter() - begin)
    _write(Path(order.out), header(facts), memoryview(plan))
    return facts


def _parsed(order: Order, messages: Messages) -> _Native:
    trt = library(order.options.flavour)
    logger = logger_of(trt, messages)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # "factory function returned nullptr": there is no driver
        raise explained([*messages.errors(), str(error)], "to start its builder") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(order.graph):
        raise _refused(order.part, parser, str(trt.__version__))
    return _Native(trt, logger, builder, network, parser, builder.create_builder_config())


def _refused(part: str, parser: Any, version: str) -> BundleError:  # noqa: ANN401 - a native parser
    if not parser.num_errors:
        return unsupported(part, "", "", "no message", version)
    error = parser.get_error(0)
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    return unsupported(part, error.node_name(), operator, error.desc(), version)


def _set_up(native: _Native, order: Order, step: Step) -> tuple[int, ...]:
    """Set limits, profiles and listeners; return the number of boxes of each profile."""
    trt, config, options = native.trt, native.config, order.options
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.builder_optimization_level = options.level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on by itself, and would make of float32 something less
    native.monitor = config.progress_monitor = monitor_of(trt, step)
    if options.capabilities:
        _set_targets(trt, config, options.capabilities)
    if _keeps_times(order):
        _read_timing(native, Path(order.timing))
    return _set_profiles(native, options.buckets)


def _set_targets(trt: Any, config: Any, capabilities: tuple[str, ...]) -> None:  # noqa: ANN401 - native objects
    known = getattr(trt, "ComputeCapability", None)
    names = [f"SM{text.replace('.', '')}" for text in capabilities]
    missing = [name for name in names if not hasattr(known, name)]
    if missing:
        listed = ", ".join(sorted(getattr(known, "__members__", {})))
        remedy = "name another --for, or build on the device with --flavour enterprise"
        raise BundleError(f"a target among {listed or 'none'}", ", ".join(missing), remedy)
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(getattr(known, name), index)


def _set_profiles(native: _Native, buckets: tuple[int, ...]) -> tuple[int, ...]:
    dynamic = [tensor for tensor in _inputs(native.network) if -1 in tuple(tensor.shape)]
    if not dynamic:
        return (1,)
    for size in buckets:
        profile = native.builder.create_optimization_profile()
        for tensor in dynamic:
            shape = tuple(size if side == -1 else side for side in tensor.shape)
            profile.set_shape(tensor.name, shape, shape, shape)  # boxes are padded to the bucket
        native.config.add_optimization_profile(profile)
    return buckets


def _inputs(network: Any) -> Iterator[Any]:  # noqa: ANN401 - a native network
    return (network.get_input(index) for index in range(network.num_inputs))


def _keeps_times(order: Order) -> bool:
    return order.options.flavour != "rtx"  # which measures nothing when it builds, and asks for a driver all the same


def _read_timing(native: _Native, path: Path) -> None:
    data = path.read_bytes() if path.is_file() else b""
    native.timing = native.config.create_timing_cache(data)
    if not native.config.set_timing_cache(native.timing, False) and data:  # of another device: begin anew
        native.timing = native.config.create_timing_cache(b"")
        native.config.set_timing_cache(native.timing, False)


def _keep_timing(native: _Native, path: Path) -> None:
    cache = native.config.get_timing_cache()
    data = None if cache is None else cache.serialize()
    if data is not None and memoryview(data).nbytes:
        with suppress(OSError):  # the next build is slower without it, and no worse
            path.write_bytes(memoryview(data))


def _loaded(native: _Native, plan: Any) -> tuple[int, LayerShare | None] | None:  # noqa: ANN401 - native objects
    """Ask the finished engine about itself; None where this machine cannot load it."""
    engine = native.trt.Runtime(native.logger).deserialize_cuda_engine(plan) if _has_gpu() else None
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(native.trt.LayerInformationFormat.JSON)
    return int(engine.device_memory_size_v2), layers_from_json(text)


def _has_gpu() -> bool:
    try:
        return bool(gpu())
    except DriverError:
        return False


def _facts(
    order: Order,
    network: Any,  # noqa: ANN401 - a native network
    census: Census,
    messages: Messages,
    sizes: tuple[int, ...],
    loaded: tuple[int, LayerShare | None] | None,
    seconds: float,
) -> EngineFacts:
    outputs = (network.get_output(index) for index in range(network.num_outputs))
    ports = [*(_port(one, True) for one in _inputs(network)), *(_port(one, False) for one in outputs)]
    warnings = [line.text[:200] for line in messages.lines if line.severity == "WARNING"]
    return EngineFacts(
        part=order.part,
        precision=order.precision,
        buckets=sizes,
        ports=tuple(ports),
        census=census,
        activation_bytes=tuple(messages.activation_bytes),
        device_memory_bytes=loaded[0] if loaded else None,
        weight_bytes=messages.weight_bytes,
        layers=loaded[1] if loaded else None,
        seconds=round(seconds, 2),
        level=order.options.level,
        workspace_bytes=order.options.workspace_bytes,
        warnings=tuple(dict.fromkeys(warnings))[:20],
    )


def _port(tensor: Any, is_input: bool) -> Port:  # noqa: ANN401 - a native tensor
    name = str(tensor.dtype.name)
    return Port(str(tensor.name), _TYPES.get(name, name.lower()), tuple(int(side) for side in tensor.shape), is_input)


def _write(path: Path, start: bytes, plan: memoryview) -> None:
    with explained_path("a file for the engine", path), path.open("wb") as file:
        file.write(start)
        file.write(plan)
