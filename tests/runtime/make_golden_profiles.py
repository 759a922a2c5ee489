"""Writes golden_profiles.json: what the sources' own libraries make of images, boxes and logits, for every profile.

    python tests/runtime/make_golden_profiles.py

Our steps are not used here. Images and logits are formulas in integers, so that a reader in any language can make them.
`test_golden_profiles` holds our steps against the file, and, where the libraries are installed, the file against them.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from medsam_edge.benchmarks.source_steps import SourceSteps, source_steps
from medsam_edge.runtime.types import AnyArray, Boxes, Image, Logits, Masks

FILE = Path(__file__).with_name("golden_profiles.json")
SIDE, LOGITS = 64, 32
# Name to height, width, and whether the channels are equal: not square both ways, tiny (upscaled), larger than S by a
# whole factor and not, odd, one side as S, exactly S.
IMAGES = {
    "wide": (48, 80, False),
    "tall": (97, 53, False),
    "grey": (70, 90, True),
    "tiny": (7, 11, False),
    "large": (256, 192, False),
    "odd": (131, 257, False),
    "one side": (64, 33, True),
    "square": (64, 64, False),
}
ROWS = (0, 21, 40)  # of the encoder's input, where it need not be equal
# Of the values in these rows, each by at most 1. Cubic splines in float32 differ from scikit-image's in the last bit,
# and sums of areas from OpenCV's in their order: where a value lies on the edge of two grey levels, that shows.
ALLOWED_FRACTION = {"medsam": 0.005, "litemedsam": 0.005, "litemedsam-slicer": 0.005}
OFFSET = 13  # 1024ths of a logit: no sum of the formula is 0
NUDGE = np.float32(1e-5)  # of a logit: no pixel of a mask may hang on less


def image(height: int, width: int, grey: bool) -> Image:
    """`(33 y y + 37 x + 91 c + 5 x y) // 4 mod 256`, with a black plateau; c is 0 where the channels are equal."""
    y, x, channel = np.mgrid[:height, :width, :3].astype(np.int64)
    values = (33 * y * y + 37 * x + (0 if grey else 91) * channel + 5 * x * y) // 4 % 256
    values[height // 4 : height // 2, width // 3 : width // 2] = 0
    made: Image = values.astype(np.uint8)
    return made


def boxes(height: int, width: int) -> Boxes:
    """A box on quarters of a pixel, one of whole pixels, and the whole image."""
    return np.array(
        [[width / 8 + 0.25, height / 4, width - 1.5, height - 0.75], [1, 2, 5, 6], [0, 0, width, height]], np.float32
    )


def logits() -> Logits:
    """A disc and stripes in 1024ths, and one mask of which nothing is above 0: `(3, 1, 4E, 4E)`."""
    y, x = np.mgrid[:LOGITS, :LOGITS].astype(np.int64)
    disc = 90 - (x - 13) ** 2 - (y - 11) ** 2 + 3 * ((x * y) % 7)
    stripes = ((x * 5 + y * 3) % 23 - 11) * 9
    empty = -(1 + (x + y) % 9) * 16
    return ((64 * np.stack([disc, stripes, empty])[:, None] + OFFSET) / 1024).astype(np.float32)


def steps_of(profile: str) -> SourceSteps:
    """The source's steps; the plug-in's from where it has uint8, which is what its profile states."""
    found = source_steps(profile)
    if profile != "litemedsam-slicer":
        return found
    return SourceSteps(found.libraries, source_steps("medsam").encoder_inputs, found.boxes, found.masks)


def vectors(profile: str, name: str) -> dict[str, Any]:
    """Everything that the file says about one image under one profile."""
    height, width, grey = IMAGES[name]
    steps = steps_of(profile)
    inputs = steps.encoder_inputs(image(height, width, grey), SIDE)
    vector: dict[str, Any] = {"encoder_input_sha256": digest(inputs["image"])}
    if profile in ALLOWED_FRACTION:
        vector["encoder_input_rows"] = {str(row): inputs["image"][0, :, row].tolist() for row in ROWS}
    if "valid_hw" in inputs:
        vector["valid_hw"] = inputs["valid_hw"].tolist()
    vector["boxes"] = steps.boxes(boxes(height, width), (height, width), SIDE).astype(float).tolist()
    vector["masks"] = [{"pixels": int(mask.sum()), "sha256": digest(mask)} for mask in sure_masks(steps, name)]
    return vector


def sure_masks(steps: SourceSteps, name: str) -> Masks:
    """Draw the masks, and see that no pixel changes when every logit does a little: else the hash would be luck."""
    low, middle, high = (steps.masks(logits() + n * NUDGE, IMAGES[name][:2], SIDE) for n in (-1, 0, 1))
    assert (low == high).all(), f"a pixel of {name} hangs on a last bit: change the formula of the logits"
    return middle


def digest(array: AnyArray) -> str:
    """SHA-256 of the bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def golden(profiles: tuple[str, ...]) -> dict[str, Any]:
    """The whole file."""
    return {
        "schema": "medsam-edge/golden-profiles/1",
        "image_size": SIDE,
        "images": {name: {"height": h, "width": w, "grey": grey} for name, (h, w, grey) in IMAGES.items()},
        "image_formula": " ".join((image.__doc__ or "").split()),
        "given_boxes": {name: boxes(h, w).tolist() for name, (h, w, _) in IMAGES.items()},
        "logits_times_1024": (logits()[:, 0] * 1024).astype(int).tolist(),
        "allowed_fraction": {profile: ALLOWED_FRACTION.get(profile, 0.0) for profile in profiles},
        "profiles": {profile: {name: vectors(profile, name) for name in IMAGES} for profile in profiles},
    }


def written(data: dict[str, Any]) -> str:
    """JSON with one line for each list of numbers, so that it stays readable and small."""
    lines = json.dumps(data, indent=1).splitlines()
    joined: list[str] = []
    depth = 0
    for line in lines:
        text = line.strip() if depth else line
        joined = [*joined[:-1], joined[-1] + text] if depth else [*joined, text]
        depth += line.count("[") - line.count("]")
    return "\n".join(joined) + "\n"


if __name__ == "__main__":
    from medsam_edge.runtime.profile import VOCABULARY

    FILE.write_text(written(golden(tuple(map(str, VOCABULARY["name"])))))
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
