"""Chooses cases: a sample in proportion to modality and object size, and sets that share no patient.

Chance is a hash of the seed and the case, so a choice depends neither on the order of files nor on a library's
random generator. Knows nothing of how cases are stored.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from ..runtime.errors import CaseError
from .case_set import CaseRef, CaseSet, same_spelling

Stratum = tuple[str, str]
Group = tuple[CaseRef, ...]  # cases that must not be parted


def sampled(cases: CaseSet, count: int, seed: int) -> CaseSet:
    """Choose `count` cases, each modality and object size in proportion.

    One of each modality comes first, then one of each size within it, as far as `count` allows; the rest follows the
    strata's sizes. Within a stratum no patient is taken twice before each was taken once.

    Returns:
        The chosen cases; all of them where there are no more than `count`.

    Raises:
        CaseError: `count` is below 1.
    """
    if count < 1:
        raise CaseError("a sample of at least one case", f"{count}", "ask for more cases")
    strata: dict[Stratum, list[CaseRef]] = {}
    for ref in cases.refs:
        strata.setdefault(ref.stratum, []).append(ref)
    places = _places({stratum: len(refs) for stratum, refs in strata.items()}, min(count, len(cases)))
    return cases.of(chain.from_iterable(_by_turns(refs, seed)[: places[stratum]] for stratum, refs in strata.items()))


def _places(sizes: Mapping[Stratum, int], count: int) -> dict[Stratum, int]:
    """How many cases of each stratum: one each where that is possible, then by Webster's method of equal shares."""
    places = dict.fromkeys(sizes, 0)
    for stratum in _by_need(sizes)[:count]:
        places[stratum] = 1
    # A full stratum's quotient is below a half and every other one's above it, so none gets more than it has.
    for _ in range(count - sum(places.values())):
        places[max(sizes, key=lambda one: (sizes[one] / (2 * places[one] + 1), one))] += 1
    return places


def _by_need(sizes: Mapping[Stratum, int]) -> list[Stratum]:
    """The largest stratum of every modality before the second one of any, large ones first."""
    ordered = sorted(sizes, key=lambda stratum: (-sizes[stratum], stratum))
    rank: Counter[str] = Counter()
    ranks = {}
    for stratum in ordered:
        ranks[stratum] = rank[stratum[0]]
        rank[stratum[0]] += 1
    return sorted(ordered, key=lambda stratum: ranks[stratum])


def _by_turns(refs: Iterable[CaseRef], seed: int) -> list[CaseRef]:
    """A random order in which patients take turns."""
    turn: Counter[str] = Counter()
    turns = []
    for ref in sorted(refs, key=lambda ref: _chance(ref, seed)):
        turns.append((turn[_patient(ref)], ref))
        turn[_patient(ref)] += 1
    return [ref for _, ref in sorted(turns, key=lambda pair: pair[0])]


def split_by_patient(cases: CaseSet, shares: Mapping[str, float], seed: int) -> dict[str, CaseSet]:
    """Part one list of cases into sets that share neither a patient nor an image, modalities alike as far as possible.

    Within one list equal patient ids are one patient, and a case without one is a patient of its own. Cases of the
    same pixels stay together whatever their patients.

    Args:
        cases: The cases.
        shares: The wanted part of the cases for each set, such as `{"calibration": 2, "evaluation": 1}`; patients are
            not divided, so the parts come out roughly.
        seed: Another seed gives another division.

    Returns:
        One set, never empty, for each name.

    Raises:
        CaseError: Fewer patients than sets, or a share that is not above 0.
    """
    if any(share <= 0 for share in shares.values()):
        raise CaseError("shares above 0", f"{dict(shares)}", "leave the set out if it is to be empty")
    groups = _groups(cases.refs, seed)
    if len(groups) < len(shares):
        remedy = "add cases of other patients, or name the evaluation cases apart"
        raise CaseError(f"at least {len(shares)} patients, one for each set", f"{len(groups)}", remedy)
    wanted = {name: share / sum(shares.values()) for name, share in shares.items()}
    parts: dict[str, list[CaseRef]] = {name: [] for name in shares}
    have: dict[str, Counter[str]] = {name: Counter() for name in shares}  # cases by modality
    given: Counter[str] = Counter()
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        coming = Counter(ref.modality for ref in group)
        given += coming
        empty = [name for name in parts if not parts[name]]
        open_ones = empty if left <= len(empty) else list(parts)
        needs = {name: _need(have[name], given, wanted[name], coming) for name in open_ones}
        chosen = max(open_ones, key=needs.__getitem__)
        parts[chosen] += group
        have[chosen] += coming
    return {name: cases.of(refs) for name, refs in parts.items()}


def _need(have: Counter[str], given: Counter[str], share: float, coming: Iterable[str]) -> float:
    """How many cases a set is behind its share of all that were given out: of the coming modalities, and of any."""
    behind = sum(share * given[name] - have[name] for name in sorted(coming))
    return behind + share * given.total() - have.total()


def _groups(refs: Iterable[CaseRef], seed: int) -> list[Group]:
    """Cases joined by patient or by pixels, also by way of others; the largest groups first, then by chance."""
    home: dict[str, list[CaseRef]] = {}  # of every patient and every image, the group it is in
    for ref in refs:
        keys = _ties(ref)
        first, *others = {id(home[key]): home[key] for key in keys if key in home}.values() or ([],)
        for moved in chain.from_iterable(others):
            first.append(moved)
            home.update(dict.fromkeys(_ties(moved), first))
        first.append(ref)
        home.update(dict.fromkeys(keys, first))
    groups = {id(group): tuple(group) for group in home.values()}.values()
    return sorted(groups, key=lambda group: (-len(group), min(_chance(ref, seed) for ref in group)))


def _ties(ref: CaseRef) -> tuple[str, str]:
    return f"patient {_patient(ref)}", f"pixels {ref.pixel_sha256}"


def _patient(ref: CaseRef) -> str:
    return same_spelling(ref.patient)


def _chance(ref: CaseRef, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {ref.pixel_sha256} {ref.id}".encode()).digest()
