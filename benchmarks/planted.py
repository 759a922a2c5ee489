"""What int8 does to a ViT encoder that has outlier channels, block by block.

    python -m medsam_edge.benchmarks.planted BUNDLE --images 4

Random weights have none of the outlier channels of trained transformers, and an easy model few. They are planted, so
that the float32 function stays (`calibration.planted`), and int8 graphs are made of it as `quantize` makes them. What
each block hands on, and the embedding, are compared with float32's. It says what int8 graphs can bear, not what a
checkpoint needs: that takes the checkpoint, and its masks.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import onnx
import typer

from ..calibration.case_set import CaseSet, case_set
from ..calibration.int8_graphs import Int8Graphs, Recipe
from ..calibration.planted import Outliers, block_outputs, planted
from ..calibration.taps import run, tapped
from ..calibration.work import Journal
from ..runtime.backends.base import BackendChoice
from ..runtime.backends.choose import resolve
from ..runtime.bundle import Bundle, open_bundle
from ..runtime.contract import check_contract
from ..runtime.errors import MeasurementError, MedSAMEdgeError, UsageError
from ..runtime.files import temporary_folder
from ..runtime.loading import entry_of
from ..runtime.machine import processor_name
from ..runtime.memory import peak_mib
from ..runtime.profile import Profile
from ..runtime.profile_steps import encoder_inputs
from ..runtime.types import AnyArray
from .console import Report, explain, progress, show
from .options import AsJson
from .planted_report import Alone, Column, Place, PlantedReport
from .planted_tables import planted_tables

EMBEDDING = "embedding"
UNCHANGED = 0.9999
"""Cosine below which planting has changed the function: int8's losses would not be told from its own."""
MIN_MAX = Recipe("min-max")
RECIPES = {
    "min-max": MIN_MAX,
    "99.99 %": Recipe("percentile-99.99"),
    "balanced": Recipe("min-max", balance=True),
    "both": Recipe("percentile-99.99", balance=True),
}
"""What is tried on the planted encoder, by the heads of its columns."""


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle of a ViT.", metavar="BUNDLE")],
    images: Annotated[int, typer.Option(min=1, help="Phantoms to compare on; ranges come from as many others.")] = 4,
    factor: Annotated[float, typer.Option(help="How many times as large an outlier channel is.")] = 40.0,
    channels: Annotated[int, typer.Option(help="Outlier channels at each place.")] = 4,
    block: Annotated[list[int] | None, typer.Option(help="Only in this block; repeat. Default: in all.")] = None,
    keep_float: Annotated[int, typer.Option(min=0, help="How many of the worst blocks to keep in float.")] = 3,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="What channels are drawn with.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Plant outlier channels and print how far each block in int8 is from float32."""
    try:
        outliers = Outliers(factor, channels, tuple(block or ()), seed)
        with progress("planted") as report:
            found = planted_agreement(open_bundle(bundle), outliers, images, keep_float, backend, report)
        show("planted", found, as_json, lambda: planted_tables(found))
    except MedSAMEdgeError as error:
        explain(error, as_json)
        raise typer.Exit(error.exit_code) from error


def planted_agreement(
    bundle: Bundle, outliers: Outliers, images: int, keep_float: int, backend: str, report: Report
) -> PlantedReport:
    """Compare int8 graphs of an encoder with planted outliers with its float32 graph.

    Args:
        bundle: A bundle of a ViT with a float32 encoder.
        outliers: What is planted.
        images: Phantoms to compare on, and again as many for ranges.
        keep_float: How many of the worst blocks the last column keeps in float; fewer than there are.
        backend: As `load` takes it, on the CPU.
        report: Told what goes on.

    Raises:
        UsageError: No ViT, or more outliers or blocks than it has.
        MeasurementError: Planting changed what the float32 encoder computes.
        BundleError, MissingExtraError, BackendError: As `load`.
    """
    start, choice = perf_counter(), resolve(backend)
    with temporary_folder() as folder:
        work = _Work(bundle, choice, case_set(None, "evaluation", phantoms=images), folder, report)
        unchanged, columns, alone = _measured(work, outliers, keep_float)
    return PlantedReport(
        bundle=str(bundle.root),
        digest=bundle.manifest.digest,
        trained=bundle.manifest.model.trained,
        backend=str(choice),
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        images=images,
        outliers=outliers,
        unchanged=unchanged,
        columns=columns,
        alone=alone,
        peak_mib=peak_mib(),
        seconds=perf_counter() - start,
    )


def _measured(
    work: "_Work", outliers: Outliers, keep_float: int
) -> tuple[float, tuple[Column, ...], tuple[Alone, ...]]:
    """Compare the encoder as it is, then the planted one; no more than two of its graphs are held at a time."""
    before = onnx.load(work.bundle.root / entry_of(work.bundle, "encoder", work.choice).file)
    blocks = block_outputs(before)
    if keep_float >= len(blocks):
        raise UsageError(f"fewer blocks in float than the {len(blocks)} there are", f"{keep_float}", "keep fewer")
    after = planted(before, outliers)
    work.keep(before, blocks)
    plain = work.column("no outliers", work.graphs(before, "as it is"), MIN_MAX, planted_too=False)
    del before
    unchanged = min(place.lowest for place in work.agreement(after))
    if unchanged < UNCHANGED:
        found = f"a cosine of {unchanged:.5f}"
        raise MeasurementError("an encoder that planting leaves as it was", found, "plant a smaller --factor")
    work.keep(after, blocks)
    columns, alone = work.searched(work.graphs(after, "planted"), keep_float)
    return unchanged, (plain, *columns), alone


@dataclass(eq=False)
class _Work:
    """What all graphs are run with. Float32's tensors lie on disk: those of one image of a ViT-B take 160 MB."""

    bundle: Bundle
    choice: BackendChoice
    cases: CaseSet
    folder: Path
    report: Report
    names: dict[str, str] = field(default_factory=dict)

    @cached_property
    def _profile(self) -> Profile:
        return Profile.from_dict(self.bundle.manifest.profile)

    def graphs(self, model: onnx.ModelProto, name: str) -> Int8Graphs:
        """Return what makes int8 graphs of an encoder; a name of its own keeps its ranges apart from another's."""
        cases = case_set(None, "calibration", phantoms=len(self.cases))
        return Int8Graphs(model, self._profile, cases, Journal(self.folder / "ranges", {"encoder": name}), self.report)

    def keep(self, model: onnx.ModelProto, blocks: dict[str, str]) -> None:
        """Run a float32 graph and keep what its blocks hand on."""
        self.names = {**blocks, EMBEDDING: "image_embedding"}
        for number, found in self._outputs(model, len(self.cases), "float32"):
            for place, name in self.names.items():
                np.save(self._file(number, place), found[name])

    def agreement(self, model: onnx.ModelProto, images: int | None = None, what: str = "float32") -> tuple[Place, ...]:
        """Run a graph and hold it against what was kept."""
        cosines: dict[str, list[float]] = {place: [] for place in self.names}
        for number, found in self._outputs(model, images or len(self.cases), what):
            for place, name in self.names.items():
                cosines[place].append(cosine(found.pop(name), np.load(self._file(number, place), mmap_mode="r")))
        return tuple(Place(place, sum(some) / len(some), min(some)) for place, some in cosines.items())

    def column(
        self, head: str, graphs: Int8Graphs, recipe: Recipe, kept: Sequence[str] = (), planted_too: bool = True
    ) -> Column:
        """Make an int8 graph and compare it."""
        data = graphs.graph(recipe, frozenset(kept))
        places = self.agreement(onnx.load_from_string(data), what=head)
        return Column(head, str(recipe), planted_too, tuple(kept), places, len(data))

    def searched(self, graphs: Int8Graphs, keep_float: int) -> tuple[tuple[Column, ...], tuple[Alone, ...]]:
        """Try all recipes; by the best one rank blocks alone and keep the worst of them in float."""
        columns = [self.column(head, graphs, recipe) for head, recipe in RECIPES.items()]
        best = max(columns, key=lambda column: column.embedding.mean)
        recipe = RECIPES[best.head]
        alone = tuple(
            sorted((self._alone(graphs, recipe, block) for block in graphs.blocks), key=lambda one: one.cosine)
        )
        if keep_float:
            worst = [one.block for one in alone[:keep_float]]
            columns.append(self.column(f"{keep_float} float", graphs, recipe, worst))
        return tuple(columns), alone

    def _alone(self, graphs: Int8Graphs, recipe: Recipe, block: str) -> Alone:
        data = graphs.graph(recipe, frozenset(graphs.blocks) - {block})
        return Alone(block, self.agreement(onnx.load_from_string(data), 1, f"{block} alone")[-1].mean)

    def _outputs(self, model: onnx.ModelProto, images: int, what: str) -> Iterator[tuple[int, dict[str, AnyArray]]]:
        part = check_contract(self.bundle.manifest, self._profile)["encoder"]
        with tapped(model, part, list(self.names.values()), self.choice) as encoder:
            for number, ref in enumerate(self.cases.refs[:images]):
                self.report(what, number, images)
                yield number, run(encoder, encoder_inputs(self._profile, ref.read().image))

    def _file(self, number: int, place: str) -> Path:
        return self.folder / f"{number}-{place}.npy"


def cosine(one: AnyArray, other: AnyArray) -> float:
    """Return the cosine of two tensors as long vectors, in float64.

    Raises:
        MeasurementError: One of them is zero or not finite, so that there is none.
    """
    a, b = (np.asarray(value, np.float64).ravel() for value in (one, other))
    found = float(a @ b) / float(np.sqrt((a @ a) * (b @ b)) or np.nan)
    if not np.isfinite(found):
        raise MeasurementError("tensors that have a cosine", "zeros, NaN or infinity", "check the bundle with `verify`")
    return found


if __name__ == "__main__":
    typer.run(main)
