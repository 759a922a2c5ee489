"""The `demo` verb: the whole path on the packaged checkpoint, from weights to a table, with nothing to prepare.

Checkpoint, bundle, verification, one segmented phantom with its overlay, a short benchmark. It calls the same
functions as the verbs do, in the order in which a person would type them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..calibration.phantoms import phantom
from ..export.demo_checkpoint import demo_checkpoint
from ..export.pipeline import export_bundle
from ..runtime.backends.choose import available
from ..runtime.bundle import open_bundle
from ..runtime.files import make_folder
from ..runtime.loading import load
from ..runtime.outputs import write_png
from ..runtime.segmentation import Written, segment_files
from .bench import bench
from .cases import golden_cases
from .latency import BenchReport
from .rounds import Plan
from .verification import VerifyReport, verify

# A phantom chest: several objects, one of them inside another, in a picture that shows what the product does.
SHOWN_SEED, SHOWN_MODALITY = 14, "CT"
# Few rounds of the main stages: a demo is waited for.
PLAN = Plan(rounds=10, boxes=0, machine=False)


@dataclass(frozen=True)
class DemoResult:
    """What the demo found and wrote."""

    bundle: str
    verification: VerifyReport
    segmented: Written
    benchmark: BenchReport


def run_demo(out: Path, say: Callable[[str], None] = lambda _: None) -> DemoResult:
    """Run the demo into `out`, a folder that is made if it is not there.

    Raises:
        MissingExtraError: If no backend is installed.
        ParityError: If a backend draws other masks than the checkpoint.
    """
    folder = out / "demo.bundle"
    export_bundle(demo_checkpoint(), folder, golden_cases(), say=say)
    bundle = open_bundle(folder)
    say("verifying the bundle")
    verification = verify(bundle, available())
    say("segmenting a phantom")
    segmented = segment_phantom(folder, out)
    say("measuring latency")
    return DemoResult(str(folder), verification, segmented, bench(bundle, available(), PLAN))


def segment_phantom(bundle: Path, out: Path) -> Written:
    """Write a phantom as PNG, segment it from that file as a person would, and return what was written."""
    case = phantom(SHOWN_SEED, SHOWN_MODALITY)
    image = out / "phantom.png"
    make_folder(out)
    write_png(image, case.image)
    boxes = [(float(a), float(b), float(c), float(d)) for a, b, c, d in case.boxes]
    with load(bundle) as predictor:
        return next(segment_files(predictor, [image], out, boxes))
