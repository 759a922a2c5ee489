"""What `build` does beyond building: the masks that the engines draw, on the device itself, with no PyTorch.

Engines for another GPU than this machine's are built all the same; nothing can be drawn with them here, and the result
says so.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime.backends.base import HostTensor
from ..runtime.backends.tensorrt import open_engine
from ..runtime.bundle import Bundle, open_bundle
from ..runtime.engines.build import BuildResult, Request, build_engines, commands, plan
from ..runtime.engines.identity import choice_of, default_state
from ..runtime.errors import UsageError
from ..runtime.loading import load
from ..runtime.metrics import dice
from ..runtime.parity import HALF, Check, Limits
from ..runtime.pixels import as_image
from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.state import StateFolder
from .cases import golden_of, phantom_cases
from .console import Report, Say
from .verification import VerifyReport, verify

PHANTOMS = 8


@dataclass(frozen=True)
class LayerTime:
    """A layer of a finished engine, by its own name, and what it took."""

    name: str
    ms: float


@dataclass(frozen=True)
class Built:
    """The outcome of `build`.

    Attributes:
        build: The engines.
        verification: Their masks against the bundle's golden answers and reference masks; None where this machine has
            no GPU that runs them.
        consistency: The same masks whatever the number of boxes of a call: 1, and each profile's.
        layers: The encoder's layers in the order in which they ran, as the library's profiler times them one by one.
        not_run: Why nothing was drawn; empty where it was.
    """

    build: BuildResult
    verification: VerifyReport | None
    consistency: tuple[Check, ...]
    layers: tuple[LayerTime, ...]
    not_run: str


def check_backend(backend: str) -> None:
    """Refuse what needs no building.

    Raises:
        UsageError: It is not TensorRT.
    """
    if backend != "tensorrt":
        raise UsageError(
            "--backend tensorrt", repr(backend), "leave it out: the other backends compile when they start"
        )


def build_bundle(path: Path, backend: str, request: Request, state: Path | None, report: Report, say: Say) -> Built:
    """Build a bundle's engines and draw with them; raises what `build_engines` and `load` raise.

    Args:
        path: The bundle.
        backend: "tensorrt".
        request: What was asked for.
        state: The device's folder; None for the usual place.
        report: Told of progress.
        say: Told of each step.
    """
    check_backend(backend)
    bundle, folder = open_bundle(path), state or default_state()
    made = build_engines(bundle, request, folder, report, say)
    if request.capabilities:
        return Built(made, None, (), (), "built for other GPUs than this machine's: verify on the device")
    name = str(choice_of(made.engines[0].precision, request.flavour))
    say("drawing the golden cases and phantoms with the engines")
    limits = Limits() if made.engines[0].precision == "fp32" else HALF
    checks = consistency(bundle, name, made.engines[-1].facts.buckets, folder, limits)
    verification = verify(bundle, [name], phantom_cases(PHANTOMS), progress=report, state=folder, limits=limits)
    return Built(made, verification, checks, layer_times(bundle, request, folder), "")


def passed(result: Built) -> bool:
    """Whether what was drawn is what the bundle draws; True where nothing was."""
    return (result.verification is None or result.verification.passed) and all(one.passed for one in result.consistency)


def consistency(bundle: Bundle, name: str, sizes: Sequence[int], state: Path, limits: Limits) -> tuple[Check, ...]:
    """Draw the first golden case's first box alone, and as one of as many as each profile takes."""
    golden = golden_of(bundle)[0]
    with load(bundle, name, state=state, max_boxes=max(sizes)) as predictor:
        embedding = predictor.embed(golden.image)
        alone = predictor.predict(embedding, golden.boxes[:1]).masks[0]
        found = []
        for size in sizes:
            masks = predictor.predict(embedding, np.repeat(golden.boxes[:1], size, axis=0)).masks
            worst = min(dice(mask, alone) for mask in masks)
            found.append(Check(f"{size} boxes at once", worst >= limits.batch_dsc, f"DSC {worst:.5f} with one alone"))
    return tuple(found)


def layer_times(bundle: Bundle, request: Request, state: Path) -> tuple[LayerTime, ...]:
    """Run the encoder once under the library's profiler, on the first golden image."""
    encoder = next(one for one in plan(bundle, request)[0] if one.entry.part == "encoder")
    profile = Profile.from_dict(bundle.manifest.profile)
    arrays = encoder_inputs(profile, as_image(golden_of(bundle)[0].image))
    with closing(open_engine(encoder.source, encoder.choice, StateFolder(state))) as backend:
        times = backend.profile({name: HostTensor(array) for name, array in arrays.items()})
    return tuple(LayerTime(name, ms) for name, ms in times)


def dry_run_lines(path: Path, backend: str, request: Request) -> tuple[str, ...]:
    """Return the calls of `trtexec` that build the same engines."""
    check_backend(backend)
    return commands(open_bundle(path), request)
