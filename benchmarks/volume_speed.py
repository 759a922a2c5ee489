"""One embedding of a slice for all objects, against one for each object: time, and memory by the number of slices.

    python -m medsam_edge.benchmarks.volume_speed BUNDLE

A synthetic volume with tubes through all slices is segmented in a fresh process for each depth. During the deepest run
the other way (encode and decode for each object by itself, as the published loops do) takes its turn on some slices,
evenly spread, while ours stands still; its time for the whole volume follows from those.
"""

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer

from ..runtime.errors import MeasurementError
from ..runtime.loading import load
from ..runtime.memory import peak_mib
from ..runtime.predictor import Embedding, Predictor
from ..runtime.types import AnyArray
from ..runtime.volumes.challenge import ChallengeForm
from ..runtime.volumes.conventions import FIRST_BOX
from ..runtime.volumes.prompts import Prompt
from ..runtime.volumes.segmenting import Prepared, VolumeOptions, prepare, segment_volume
from ..runtime.volumes.volume import Geometry, Volume

SIDE = 256
ROWS = 2  # of tubes


@dataclass(frozen=True)
class Run:
    """One run in one process.

    Attributes:
        slices: Of the volume.
        seconds: Ours, without what the other way took.
        encoded: Slices encoded.
        masks: Masks drawn.
        other_seconds: What the other way took on the sampled slices.
        other_masks: Masks that it drew there.
        peak_mib: The process's largest resident size.
        arrays_mib: Of that, voxels and labels.
    """

    slices: int
    seconds: float
    encoded: int
    masks: int
    other_seconds: float
    other_masks: int
    peak_mib: float
    arrays_mib: float

    @property
    def ratio(self) -> float:
        """How many times as long the other way takes for the same masks."""
        return self.other_seconds / self.other_masks * self.masks / self.seconds


class TakingTurns(Predictor):
    """A predictor whose encoder can be held: a run that stands still encodes nothing ahead."""

    def __init__(self, inner: Predictor) -> None:
        super().__init__(inner.profile, inner._encoder, inner._decoder, inner.served_by, inner.max_boxes)
        self.turn = threading.Lock()

    def embed(self, image: AnyArray) -> Embedding:
        """Encode an image, as soon as nobody else has the turn."""
        with self.turn:
            return super().embed(image)


def tubes(slices: int, objects: int) -> tuple[Volume, list[Prompt]]:
    """A volume of bright tubes in noise, and their boxes, which start from slices all over the volume."""
    random = np.random.default_rng(0)
    voxels = random.integers(20, 60, (slices, SIDE, SIDE), np.uint8)
    rows, columns = np.indices((SIDE, SIDE))
    across, prompts = -(-objects // ROWS), []
    for index in range(objects):
        x, y = (index % across + 0.5) * SIDE / across, (index // across + 0.5) * SIDE / ROWS
        radius = 0.35 * SIDE / max(across, ROWS)
        voxels[:, (rows - y) ** 2 + (columns - x) ** 2 <= radius**2] += np.uint8(100 + 5 * (index % 20))
        box = (x - radius, y - radius, x + radius, y + radius)
        prompts.append(Prompt(box, int((index + 0.5) * slices / objects), 0, slices - 1))
    return Volume(voxels, Geometry(np.eye(4)), ChallengeForm(None)), prompts


def measure(predictor: Predictor, slices: int, objects: int, samples: int) -> Run:
    """Segment a volume, with the other way on `samples` slices between ours.

    Args:
        predictor: The opened bundle.
        slices: Of the volume.
        objects: In it.
        samples: Slices for the other way; 0 for none.
    """
    volume, prompts = tubes(slices, objects)
    taking = TakingTurns(predictor)
    prepared = prepare(volume, taking, VolumeOptions(after_empty=FIRST_BOX))
    taken: list[float] = []

    def progress(done: int, count: int) -> None:
        if len(taken) < samples and done >= (len(taken) + 0.5) * count / samples:
            with taking.turn:
                taken.append(_other_way(predictor, prepared, prompts, done % slices))

    predictor.segment(prepared.slices.image(0), [prompts[0].box])  # what the first call costs is nobody's
    found = segment_volume(taking, prepared, prompts, progress=progress)
    arrays = (volume.voxels.nbytes + found.labels.nbytes) / 2**20
    seconds = found.total_ms / 1e3 - sum(taken)
    return Run(slices, seconds, found.encoded, found.decoded, sum(taken), len(taken) * objects, peak_mib(), arrays)


def _other_way(predictor: Predictor, prepared: Prepared, prompts: list[Prompt], index: int) -> float:
    """Seconds to encode and decode one slice for each object by itself."""
    start = perf_counter()
    for prompt in prompts:
        predictor.predict(predictor.embed(prepared.slices.image(index)), [prompt.box])
    return perf_counter() - start


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    slices: Annotated[str, typer.Option(help="Depths to measure, the deepest last.")] = "30,100,300",
    objects: Annotated[int, typer.Option(min=1)] = 10,
    samples: Annotated[int, typer.Option(min=1, help="Slices for the other way.")] = 12,
    backend: Annotated[str, typer.Option()] = "auto",
    alone: Annotated[bool, typer.Option(hidden=True, help="Measure in this process, and print JSON.")] = False,
) -> None:
    """Print a line for each depth, and how many times as fast one embedding for all objects is."""
    depths = [int(depth) for depth in slices.split(",")]
    if alone:
        with load(bundle, backend) as predictor:
            print(json.dumps(asdict(measure(predictor, depths[0], objects, samples))))
        return
    for number, depth in enumerate(depths, start=1):
        run = _in_a_process(bundle, depth, objects, samples if number == len(depths) else 0, backend)
        print(
            f"{run.slices} slices, {objects} objects: {run.seconds:.1f} s, {run.encoded} encoded, {run.masks} masks; "
            f"peak memory {run.peak_mib:.0f} MiB, without voxels and labels {run.peak_mib - run.arrays_mib:.0f} MiB"
        )
    print(f"an embedding for each object: {run.ratio:.2f} times as long, from {run.other_masks} masks between ours")


def _in_a_process(bundle: Path, depth: int, objects: int, samples: int, backend: str) -> Run:
    options = ("--slices", depth, "--objects", objects, "--samples", samples or 1, "--backend", backend, "--alone")
    command = [sys.executable, "-m", __spec__.name, str(bundle), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementError("a run that ends well", done.stderr.strip()[-300:] or "no word", "read the message")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    typer.run(main)
