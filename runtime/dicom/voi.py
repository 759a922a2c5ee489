"""From a slice's values to the 8 bits that every profile expects: a window of the header or of the person, inversion.

A window clips and spreads as `runtime.windows` does, whoever named it: the training images were made so. MONOCHROME1
is inverted afterwards, once. Knows nothing of files.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ImageError, UsageError
from ..pixels import as_image
from ..types import AnyArray, Image
from ..windows import CT_WINDOWS, MR, AppliedWindow, Window, apply_window, parse_window
from .attributes import FrameHeader, HeaderWindow, Table
from .series import Series

_HEADER = "header"


@dataclass(frozen=True)
class HeaderChoice:
    """A window of the header, by its number from 1 or its name there; the first if neither."""

    text: str
    key: str


def parse_dicom_window(text: str) -> Window | HeaderChoice:
    """Read what may stand after `--window`: `header`, `header:2`, `header:NAME`, or what `windows.parse_window` takes.

    Raises:
        UsageError: It is none of these.
    """
    word, _, key = text.partition(":")
    if word == _HEADER:
        return HeaderChoice(text, key)
    return parse_window(text)


def image_of(series: Series, index: int, window: Window | HeaderChoice | None) -> tuple[Image, AppliedWindow | None]:
    """Decode a slice and turn it into an image.

    Args:
        series: Its series.
        index: Of the slice, from 0.
        window: None takes gray of 8 bits, and colours, as they are.

    Returns:
        uint8 `(H, W, 3)`, and what the window did, if there was one.

    Raises:
        ImageError: Gray of more than 8 bits without a window, colours with one, or as `windows.apply_window`.
        UsageError: The header has no such window.
        DicomError, MissingExtraError, StorageError: As `Series.values`.
    """
    one = series.slice(index)
    if series.is_colour and window is not None:
        raise ImageError("a gray image for --window", "a colour image", "leave out --window")
    if window is None and not series.is_colour:
        _check_eight_bits(one.frame, one.file.pixels.bits_stored, one.file.pixels.signed)
    chosen = _of_header(one.frame, window) if isinstance(window, HeaderChoice) else window
    values = series.values(index)
    if chosen is None:
        gray_or_rgb, applied = as_image(values.astype(np.uint8)), None
    elif isinstance(chosen, Window):
        gray_or_rgb, applied = apply_window(chosen, values)
    else:
        gray_or_rgb, applied = _through(chosen, values, window)
    return (255 - gray_or_rgb if one.file.pixels.inverted else gray_or_rgb), applied


def _check_eight_bits(frame: FrameHeader, bits: int, signed: bool) -> None:
    if bits == 8 and not signed and frame.rescale == (1.0, 0.0) and frame.modality_table is None:
        return
    kind = f"{bits}-bit {'signed ' if signed else ''}gray" + ("" if frame.rescale == (1.0, 0.0) else ", rescaled")
    names = ", ".join((*CT_WINDOWS, MR))
    remedy = f"add --window header{_offered(frame)}, {names} or CENTER,WIDTH"
    raise ImageError("8-bit gray or colour, or a --window", kind, remedy)


def _offered(frame: FrameHeader) -> str:
    """The header's windows as numbers; their names are free text."""
    shown = [f"{number}: {one.center:g},{one.width:g}" for number, one in enumerate(frame.windows, start=1)]
    shown += [f"{len(shown) + number}: a table" for number, _ in enumerate(frame.voi_tables, start=1)]
    return f" (it has {'; '.join(shown)})" if shown else " (though it has none)"


def _of_header(frame: FrameHeader, choice: HeaderChoice) -> Window | HeaderWindow | Table:
    """Find a header's window; numbers go on from its windows to its tables."""
    offers: list[HeaderWindow | Table] = [*frame.windows, *frame.voi_tables]
    key = choice.key.strip()
    named = [one for one in frame.windows if key and one.name.strip().lower() == key.lower()]
    number = int(key) if key.isdecimal() else 1
    found = named[0] if named else offers[number - 1] if key in ("", str(number)) and number <= len(offers) else None
    if found is None or (key.isdecimal() and number < 1):
        expected = "a window of the header by that name or number" if key else "a window in the header"
        raise UsageError(expected, f"{choice.text}{_offered(frame)}", "give --window CENTER,WIDTH or a preset's name")
    if isinstance(found, HeaderWindow) and found.function != "SIGMOID":
        return Window(choice.text, _bounds(found))
    return found


def _bounds(window: HeaderWindow) -> tuple[float, float]:
    """Where a linear window begins and ends, PS3.3 C.11.2.1.2; LINEAR counts from pixel centres, so one is lost."""
    if window.function == "LINEAR_EXACT" or window.width <= 1:
        return window.center - window.width / 2, window.center + window.width / 2
    half = (window.width - 1) / 2
    return window.center - 0.5 - half, window.center - 0.5 + half


def _through(
    shape: HeaderWindow | Table, values: AnyArray, choice: Window | HeaderChoice | None
) -> tuple[Image, AppliedWindow]:
    """Apply a table or a sigmoid, and spread what comes out."""
    name = choice.text if isinstance(choice, HeaderChoice) else ""
    if isinstance(shape, Table):
        curved: AnyArray = shape.look_up(values).astype(np.float64)
    else:
        # Clipped, so that the exponential does not overflow; beyond 100 nothing is left to see.
        curved = 1 / (1 + np.exp(np.clip(-4 * (values - shape.center) / shape.width, -100, 100)))
    image, applied = apply_window(Window(name, (float(curved.min()), float(curved.max()))), curved)
    return image, replace(applied, dtype=str(values.dtype))
