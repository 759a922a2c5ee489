"""Who takes part in a `bench`: the bundle's backends, those of other bundles, and PyTorch as the authors run it."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ..runtime.backends.base import TENSORRT
from ..runtime.bundle import Bundle
from ..runtime.errors import UsageError
from .worker.messages import Opening

# Large blocks come from pages that were used before, in huge pages, and are never given back: eager PyTorch allocates
# anew for each operation, and glibc returns what it frees to a system that then clears every page again.
TUNED = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=20000000000",
}
EAGER, TUNED_EAGER = "PyTorch eager", "PyTorch eager, tuned allocator"
NO_TUNING = f"{TUNED_EAGER}: left out, it needs glibc on Linux."


class Role(str, Enum):
    """What a candidate is to the others: ratios hold the bundle's own against the two other kinds."""

    OWN = "own"
    AGAINST = "against"
    BASELINE = "baseline"


@dataclass(frozen=True)
class Candidate:
    """One process of a `bench`.

    Attributes:
        name: What it is called; a bundle's backend gets device and precision added once it is open.
        short: How a column of ratios against it is headed.
        role: See `Role`.
        bundle: The bundle's folder, or "" for PyTorch.
        opening: What its worker is told first.
        env: What is added to its environment.
    """

    name: str
    short: str
    role: Role
    bundle: str
    opening: Opening
    env: Mapping[str, str] = field(default_factory=dict)


def bundle_candidates(
    bundle: Bundle, backends: Sequence[str], label: str = "", engines: Path | None = None
) -> list[Candidate]:
    """Return one candidate for each backend; a label marks them as another bundle's.

    The folder of engines goes to TensorRT only: what other backends keep there would make their start look faster.
    """
    role = Role.AGAINST if label else Role.OWN
    root = str(bundle.root)
    shorts = {name: (f"{label} {name}" if len(backends) > 1 else label) if label else name for name in backends}
    states = {name: str(engines or "") if name.partition(":")[0] in TENSORRT else "" for name in backends}
    openings = {name: Opening("bundle", root, name, state=states[name]) for name in backends}
    return [Candidate(label, shorts[name], role, root, openings[name]) for name in backends]


def against_candidates(bundle: Bundle, others: Sequence[Bundle], backends: Sequence[str]) -> list[Candidate]:
    """Return the candidates of other bundles, named by their folders, or by their paths where those are alike.

    Raises:
        UsageError: If one is of another model or profile: its masks would be other ones.
    """
    for other in others:
        _check_comparable(bundle, other)
    roots = [Path(one.root).resolve() for one in (bundle, *others)]
    if len(set(roots)) < len(roots):
        raise UsageError("each bundle once", ", ".join(map(str, roots)), "name every bundle after --against once")
    names = [Path(one.root).resolve().name for one in (bundle, *others)]
    labels = [str(other.root) if names.count(name) > 1 else name for other, name in zip(others, names[1:], strict=True)]
    return [
        candidate
        for other, label in zip(others, labels, strict=True)
        for candidate in bundle_candidates(other, backends, label)
    ]


def torch_candidates(weights: Path, bundle: Bundle) -> list[Candidate]:
    """Return the authors' way as it is, and under an allocator that suits it, where the system has one to tune."""
    opening = Opening("torch", weights=str(weights), profile=dict(bundle.manifest.profile))
    eager = Candidate(EAGER, "eager", Role.BASELINE, "", opening)
    if not has_glibc():
        return [eager]
    return [eager, Candidate(TUNED_EAGER, "tuned eager", Role.BASELINE, "", opening, TUNED)]


def has_glibc() -> bool:
    """Tell whether GLIBC_TUNABLES mean anything here."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"


def _check_comparable(bundle: Bundle, other: Bundle) -> None:
    ours, theirs = bundle.manifest, other.manifest
    if ours.profile != theirs.profile:
        expected, found = f"the profile of {bundle.root}", f"another one in {other.root}"
    elif ours.model.weights_sha256 != theirs.model.weights_sha256:
        expected, found = f"the weights of {bundle.root}", f"others in {other.root}"
    else:
        return
    raise UsageError(expected, found, "name a bundle of the same checkpoint and profile after --against")
