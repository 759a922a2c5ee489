"""What is asked of a build, and what its limits are on this device. Numbers and words only; nothing native."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import UsageError

PRECISIONS = ("int8", "fp16", "fp32")
"""The cheapest first, as `auto` looks for them."""
FLAVOURS = ("enterprise", "rtx")
SIZES = (1, 4, 16)
"""Boxes of a decoder's profiles: few, usual, many. A box more costs what the next size costs."""
SMALL_BOARD_BYTES, SMALL_BOARD_BOXES = 17 * 2**29, 8
"""Up to 8.5 GiB shared with the processor; TensorRT planned 514 MiB for 16 boxes of ViT-B's plain decoder."""
LEVELS = range(6)
MIB, GIB = 2**20, 2**30
_SIZE = re.compile(r"([0-9]+)(MiB|GiB)")


@dataclass(frozen=True)
class BuildOptions:
    """How one graph becomes an engine.

    Attributes:
        flavour: "enterprise" or "rtx".
        buckets: Numbers of boxes that get a profile each, ascending; a graph without a dynamic axis has one profile.
        workspace_bytes: The most that one operator may take while it runs.
        level: The builder's optimisation level, 0 to 5.
        capabilities: Compute capabilities to build for, "8.6"; RTX only, empty for this machine's GPU.
    """

    flavour: str
    buckets: tuple[int, ...]
    workspace_bytes: int
    level: int = 3
    capabilities: tuple[str, ...] = ()

    def properties(self) -> dict[str, str]:
        """The options as an engine's key holds them. TF32 is a constant: it is off."""
        return {
            "boxes": ", ".join(map(str, self.buckets)),
            "workspace": str(self.workspace_bytes),
            "level": str(self.level),
            "for": ", ".join(self.capabilities) or "this GPU",
            "tf32": "off",
        }


def buckets(max_boxes: int, small_board: bool) -> tuple[int, ...]:
    """Choose the sizes of the decoder's profiles: 1, 4 and 16 up to the largest, which is one of them.

    Args:
        max_boxes: The most boxes of one call.
        small_board: Whether the memory is at most 8 GB and shared; then 8 is the most.

    Raises:
        UsageError: If it is below 1.
    """
    if max_boxes < 1:
        raise UsageError("at least one box per decoder call", str(max_boxes), "set --max-boxes to 1 or more")
    most = min(max_boxes, SMALL_BOARD_BOXES) if small_board else max_boxes
    return (*(size for size in SIZES if size < most), most)


def is_small(memory_bytes: int, integrated: bool) -> bool:
    """Whether a GPU is a board of 8 GB or less, whose memory the whole system shares."""
    return integrated and memory_bytes <= SMALL_BOARD_BYTES


def workspace_from_text(text: str, memory_bytes: int | None, free_bytes: int | None) -> int:
    """Read `--workspace`: a size such as 2GiB or 512MiB, or `auto`.

    Args:
        text: What the person wrote.
        memory_bytes: The GPU's memory, or None where there is none.
        free_bytes: What of it is free where the processor shares it, else None.

    Returns:
        Bytes. `auto` is a quarter of what is free, or of the GPU's own memory, between 256 MiB and 4 GiB.

    Raises:
        UsageError: If it is neither.
    """
    if text == "auto":
        room = free_bytes or memory_bytes
        return 4 * GIB if room is None else max(256 * MIB, min(4 * GIB, room // 4 // MIB * MIB))
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]):
        raise UsageError("auto or a size such as 2GiB or 512MiB", repr(text), "write --workspace 2GiB")
    return int(found[1]) * (GIB if found[2] == "GiB" else MIB)


def check_options(precision: str, flavour: str, level: int, capabilities: Collection[str]) -> None:
    """Refuse words that mean nothing here.

    Raises:
        UsageError: An unknown precision, flavour or level, or capabilities for a library that builds for its own GPU.
    """
    for name, value, known in (
        ("--precision", precision, ("auto", *PRECISIONS)),
        ("--flavour", flavour, FLAVOURS),
        ("--opt-level", level, tuple(LEVELS)),
    ):
        if value not in known:
            raise UsageError(f"{name} among {', '.join(map(str, known))}", repr(value), "name one of these")
    if capabilities and flavour != "rtx":
        remedy = "build on the device itself, or add --flavour rtx"
        raise UsageError("--for with --flavour rtx only", ", ".join(capabilities), remedy)
    for text in capabilities:
        if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", text):
            raise UsageError("--for as a compute capability, 8.6", repr(text), "name one such as 8.6")


def ladder(options: BuildOptions) -> list[BuildOptions]:
    """List what to try one after another where memory runs out: smaller workspaces, then lower levels."""
    tried = [options]
    for divisor, level in ((2, options.level), (4, min(options.level, 2)), (8, min(options.level, 1))):
        workspace = max(128 * MIB, options.workspace_bytes // divisor)
        step = BuildOptions(options.flavour, options.buckets, workspace, level, options.capabilities)
        if step not in tried:
            tried.append(step)
    return tried
