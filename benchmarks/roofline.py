"""How near an int8 encoder comes to the limit of this machine.

    python -m medsam_edge.benchmarks.roofline BUNDLE --rounds 9

The limit is the time that the encoder's linear layers take by themselves at the machine's int8 rate, plus its attention
at the bf16 or float32 rate, product by product in the encoder's own sizes, measured by turns with the encoders in one
process. What an encoder takes beyond it is spent on everything else: norms, relative positions, quantising, moving
tensors. BUNDLE has an int8 encoder for OpenVINO, as `quantize` writes it.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Annotated

import onnx
import typer

from ..calibration.graph_index import GraphIndex
from ..calibration.layers import KINDS, quantisable
from ..calibration.phantoms import phantom
from ..calibration.workload import Attention, Linear, Workload, workload_of
from ..runtime.backends.choose import resolve, status
from ..runtime.bundle import Bundle, open_bundle
from ..runtime.errors import MedSAMEdgeError
from ..runtime.loading import entry_of, load
from ..runtime.machine import processor_features, processor_name
from ..runtime.predictor import Predictor
from ..runtime.profile_steps import encoder_inputs
from ..runtime.types import AnyArray
from .console import Report, explain, progress, show
from .options import AsJson
from .products import timed_product
from .roofline_report import PARTS, Rate, RooflineReport, reached
from .roofline_tables import roofline_tables

Timer = Callable[[], float]


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle with an int8 encoder for OpenVINO.", metavar="BUNDLE")],
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds; from 5 on there are intervals.")] = 9,
    as_json: AsJson = False,
) -> None:
    """Print the machine's rates, each encoder's limit, and the fraction of it that was reached."""
    try:
        with progress("roofline") as report:
            found = roofline(open_bundle(bundle), rounds, report)
        show("roofline", found, as_json, lambda: roofline_tables(found))
    except MedSAMEdgeError as error:
        explain(error, as_json)
        raise typer.Exit(error.exit_code) from error


def roofline(bundle: Bundle, rounds: int, report: Report) -> RooflineReport:
    """Measure products and encoders by turns.

    Args:
        bundle: A bundle with a float32 and an int8 encoder for OpenVINO.
        rounds: Timed rounds, after one that is not timed.
        report: Told what goes on.

    Raises:
        BundleError: It has no such encoder; run `quantize` first.
        MissingExtraError: OpenVINO is not installed.
        BackendError, DeviceMemoryError: OpenVINO failed.
    """
    float32, int8 = resolve("openvino"), resolve("openvino:CPU:int8")
    model = onnx.load(bundle.root / entry_of(bundle, "encoder", float32).file)
    work, layers = workload_of(model), len(quantisable(model))
    del model
    int8_layers = _int8_layers(onnx.load(bundle.root / entry_of(bundle, "encoder", int8).file))
    with ExitStack() as stack:
        encoders = _encoders(bundle, stack, report)
        products = _products(work, report)
        taken = _by_turns({**encoders, **products}, rounds, report)
    rates = _rates(work, taken)
    return RooflineReport(
        bundle=str(bundle.root),
        digest=bundle.manifest.digest,
        trained=bundle.manifest.model.trained,
        library=f"OpenVINO {status('openvino').version}",
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        rounds=rounds,
        int8_layers=int8_layers,
        layers=layers,
        linear_gmac=work.linear_macs / 1e9,
        attention_gmac=work.attention_macs / 1e9,
        rates=rates,
        encoders=tuple(reached(name, taken[name], taken["f32"], rates) for name in encoders),
    )


def _int8_layers(model: onnx.ModelProto) -> int:
    index = GraphIndex(model)
    made = [index.makers.get(node.input[0]) for node in model.graph.node if node.op_type in KINDS]
    return sum(maker is not None and maker.op_type == "DequantizeLinear" for maker in made)


def _has_bf16() -> bool:
    """Without instructions of its own bf16 is only slower, and says nothing."""
    return bool({"avx512_bf16", "amx_bf16"} & set(processor_features()))


def _encoders(bundle: Bundle, stack: ExitStack, report: Report) -> dict[str, Timer]:
    names = [name for name in PARTS if "bf16" not in name or _has_bf16()]
    found = {}
    for done, name in enumerate(names):
        report(f"opening the {name} encoder", done, len(names))
        predictor = stack.enter_context(load(bundle, f"openvino:CPU:{name}"))
        found[name] = _encoding(predictor, encoder_inputs(predictor.profile, phantom(0).image))
    return found


def _encoding(predictor: Predictor, inputs: Mapping[str, AnyArray]) -> Timer:
    def timed() -> float:
        start = perf_counter()
        predictor.encode(inputs).numpy()
        return 1e3 * (perf_counter() - start)

    return timed


def _products(work: Workload, report: Report) -> dict[str, Timer]:
    wanted = list(_wanted(work))
    found = {}
    for done, (product, precision) in enumerate(wanted):
        report(f"opening {product} in {precision}", done, len(wanted))
        found[_key(product, precision)] = timed_product(product, precision)
    return found


def _wanted(work: Workload) -> list[tuple[Linear | Attention, str]]:
    kinds = ("f32", "bf16") if _has_bf16() else ("f32",)
    linear = [(one, kind) for one in work.linear for kind in ("int8", *kinds)]
    return [*linear, *((one, kind) for one in work.attention for kind in kinds)]


def _key(product: Linear | Attention, precision: str) -> str:
    return f"{product} in {precision}"


def _by_turns(timers: Mapping[str, Timer], rounds: int, report: Report) -> dict[str, tuple[float, ...]]:
    """Run all by turns, so that a slow moment of the machine is everybody's; the first round is not timed."""
    taken: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(rounds + 1):
        report("measuring" if number else "warm-up", number, rounds + 1)
        for name, timer in timers.items():
            taken[name].append(timer())
    return {name: tuple(samples[1:]) for name, samples in taken.items()}


def _rates(work: Workload, taken: Mapping[str, tuple[float, ...]]) -> tuple[Rate, ...]:
    samples: dict[Linear | Attention, dict[str, tuple[float, ...]]] = {}
    for product, precision in _wanted(work):
        samples.setdefault(product, {})[precision] = taken[_key(product, precision)]
    counts: dict[Linear | Attention, int] = dict([*work.linear.items(), *work.attention.items()])
    return tuple(
        Rate(str(one), isinstance(one, Attention), counts[one], one.macs, some) for one, some in samples.items()
    )


if __name__ == "__main__":
    typer.run(main)
