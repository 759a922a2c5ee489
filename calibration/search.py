"""Finds the fewest blocks that have to stay in float for the masks to stay what they were.

It chooses by means, with room: the few cases that it sees bound nothing, and bounds are held on the cases of the
judgement. It knows blocks by name and asks a judge what a choice of them costs; graphs and images are the judge's
business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from .scores import Drop, Limits

ROOM = 0.5
"""Share of the mean drop's limit that a choice may use up; the rest is for the bound, which lies above the mean."""

# What is lost with these blocks in float and all others in int8.
Judge: TypeAlias = Callable[[frozenset[str]], Drop]


@dataclass(frozen=True)
class Sensitivity:
    """What int8 in one block alone does to masks."""

    block: str
    lost_parity: float
    mean_drop: float


@dataclass(frozen=True)
class Tried:
    """One choice and why it was not taken; `objections` is empty where it passed."""

    kept_float: tuple[str, ...]
    drop: Drop
    objections: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Attributes:
        kept_float: The blocks to be kept in float, or None where no choice passes.
        sensitivities: Every block, the most sensitive first.
        tried: Every choice that was judged against the limits, in order.
    """

    kept_float: frozenset[str] | None
    sensitivities: tuple[Sensitivity, ...]
    tried: tuple[Tried, ...]


def choosing(limits: Limits) -> Limits:
    """Return what a choice is held to: of the mean drop's limit `ROOM`; how many masks are low is not asked.

    One low mask of a few cases is already a larger share than is allowed of many; their 5th percentile stands for it.
    """
    return replace(limits, mean_drop=limits.mean_drop * ROOM, low_share=1.0)


def search(blocks: Sequence[str], judge: Judge, limits: Limits) -> Found:
    """Protect the most sensitive blocks, one more at a time, until the limits hold; then let go what was not needed.

    Args:
        blocks: All blocks with layers that can run in int8.
        judge: Asked at most three times for each block.
        limits: What may be lost on the cases of the judgement; see `choosing`.
    """
    held = choosing(limits)
    ranked = tuple(sorted((_alone(block, blocks, judge) for block in blocks), key=_harm, reverse=True))
    tried: list[Tried] = []

    def passes(kept: frozenset[str]) -> bool:
        drop = judge(kept)
        tried.append(Tried(tuple(sorted(kept)), drop, drop.objections(held)))
        return not tried[-1].objections

    order = [one.block for one in ranked]
    for count in range(len(order)):
        if passes(frozenset(order[:count])):
            return Found(_fewer(order[:count], passes), ranked, tuple(tried))
    return Found(None, ranked, tuple(tried))


def _alone(block: str, blocks: Sequence[str], judge: Judge) -> Sensitivity:
    drop = judge(frozenset(blocks) - {block})
    return Sensitivity(block, 1 - drop.mean_parity, drop.mean_drop)


def _harm(one: Sensitivity) -> tuple[float, float, str]:
    return one.lost_parity, one.mean_drop, one.block


def _fewer(kept: Sequence[str], passes: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """Let go of blocks that the limits hold without, the least sensitive first; the last one was needed."""
    needed = frozenset(kept)
    for block in reversed(kept[:-1]):
        if passes(needed - {block}):
            needed -= {block}
    return needed
