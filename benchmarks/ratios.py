"""How many times as fast one candidate is as another, stage by stage, and how much of memory and machine it uses."""

from collections.abc import Iterator, Sequence

from ..calibration.ratio import ratio
from .candidates import Role
from .latency import CandidateReport, Efficiency, MachineRate, MemoryShare, Operations, Ratio, many_stage


def ratios(candidates: Sequence[CandidateReport]) -> Iterator[Ratio]:
    """Hold each of the bundle's own candidates against each of the others, stage by stage."""
    others = [one for one in candidates if one.role != Role.OWN.value]
    for own in candidates:
        if own.role == Role.OWN.value:
            for other in others:
                yield from _stages(own, other)


def _stages(own: CandidateReport, other: CandidateReport) -> Iterator[Ratio]:
    for mine, theirs in zip(own.latencies, other.latencies, strict=True):
        if min(*mine.samples_ms, *theirs.samples_ms) > 0:  # a clock too coarse for a stage gives no ratio
            yield Ratio(own.name, other.name, mine.stage, mine.n, *ratio(mine.samples_ms, theirs.samples_ms))


def memory_shares(candidates: Sequence[CandidateReport]) -> Iterator[MemoryShare]:
    """Hold everyone's peak memory against that of the first baseline, where there is one that tells its own."""
    reference = next((one for one in candidates if one.role == Role.BASELINE.value), None)
    if reference is None or not reference.peak_mib:
        return
    for one in candidates:
        many = one.peak_many_mib / reference.peak_many_mib if one.peak_many_mib and reference.peak_many_mib else None
        yield MemoryShare(one.name, reference.name, one.peak_mib / reference.peak_mib, many)


def efficiency(
    candidate: CandidateReport, boxes: int, operations: Operations | None, machine: MachineRate | None
) -> Efficiency:
    """Relate a candidate's medians to the operations they stand for, and to the machine's own rate."""
    encode, one = _median(candidate, "encode"), _median(candidate, "decode one box")
    many = _median(candidate, many_stage(boxes))
    encoder = 2 * operations.encoder_gmac / encode * 1e3 if operations and encode else None
    decoder = 2 * operations.decoder_gmac / one * 1e3 if operations and one else None
    share = encoder / machine.gflops if encoder and machine else None
    return Efficiency(candidate.name, many / one if many and one else None, encoder, decoder, share)


def _median(candidate: CandidateReport, stage: str) -> float | None:
    found = candidate.latency(stage)
    return found.p50_ms if found else None
