"""What `benchmarks.planted` found, as plain data."""

from dataclasses import dataclass

from ..calibration.planted import Outliers


@dataclass(frozen=True)
class Place:
    """How one tensor agrees with float32's: the cosine of all its values, over images the mean and the lowest."""

    name: str
    mean: float
    lowest: float


@dataclass(frozen=True)
class Column:
    """One int8 graph.

    Attributes:
        head: Short name.
        recipe: How its ranges are chosen.
        planted: Whether it has the outliers; the first one has none.
        kept_float: Blocks that are not int8.
        places: Every block in order, then the embedding.
        bytes: Of its ONNX file.
    """

    head: str
    recipe: str
    planted: bool
    kept_float: tuple[str, ...]
    places: tuple[Place, ...]
    bytes: int

    @property
    def embedding(self) -> Place:
        """How the embedding agrees."""
        return self.places[-1]


@dataclass(frozen=True)
class Alone:
    """The embedding's cosine on the first image with int8 in this block only."""

    block: str
    cosine: float


@dataclass(frozen=True)
class PlantedReport:
    """All of it.

    Attributes:
        bundle, digest: What was measured.
        trained: Whether its weights are.
        backend: What ran the graphs.
        processor, cores: The machine.
        images: How many phantoms were compared; ranges came from as many others.
        outliers: What was planted.
        unchanged: The lowest cosine, over images and blocks, of planted float32 with the encoder as it was.
        columns: The int8 graphs.
        alone: Every block, the most harmful first, by the recipe that agreed best.
        peak_mib: The largest resident size of this process.
        seconds: How long it took.
    """

    bundle: str
    digest: str
    trained: bool
    backend: str
    processor: str
    cores: int
    images: int
    outliers: Outliers
    unchanged: float
    columns: tuple[Column, ...]
    alone: tuple[Alone, ...]
    peak_mib: float
    seconds: float
