"""Draws the front of a `quantize` where that can be done; a missing picture costs no result."""

from dataclasses import dataclass
from pathlib import Path

from ..calibration.outcome import Outcome
from ..runtime.doctor import require_extra
from ..runtime.errors import MedSAMEdgeError, one_line
from ..runtime.files import explained
from ..runtime.schema import to_json
from .front import front
from .front_picture import check_path, write_picture

NAME = "front.svg"


@dataclass(frozen=True)
class Picture:
    """Where a picture is; or why there is none, where something could have been drawn."""

    path: Path | None
    error: MedSAMEdgeError | None

    def beside(self, outcome: Outcome) -> dict[str, object]:
        """Return the JSON of an outcome and its picture."""
        return {**to_json(outcome, "outcome"), "plot": None if self.path is None else str(self.path)}


def check_plot(path: Path | None) -> None:
    """Refuse a picture that could not be drawn, before hours are spent on what it shows.

    Raises:
        UsageError: The path's ending names no format.
        MissingExtraError: The extra `plot` is not installed.
    """
    if path is not None:
        check_path(path)
        require_extra("plot")


def draw(outcome: Outcome, path: Path | None, work: Path) -> Picture:
    """Draw the front of an outcome.

    Args:
        outcome: Where no candidate was timed, nothing is drawn.
        path: What to write; None: `front.svg` in `work`, which is made.
        work: The folder of the journal.
    """
    shown = front(outcome)
    if not shown.points:
        return Picture(None, None)
    title = f"{one_line(Path(outcome.bundle).name)} on {shown.target}: latency against what masks lose"
    try:
        require_extra("plot")
        if path is None:
            with explained("a folder that can be written", work):
                work.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Picture(write_picture(shown, title, path or work / NAME), None)
    except MedSAMEdgeError as error:
        return Picture(None, error)
