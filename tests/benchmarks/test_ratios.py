import pytest
from medsam_edge.benchmarks.latency import STAGES, CandidateReport, Latency, MachineRate, Operations, many_stage
from medsam_edge.benchmarks.ratios import efficiency, ratios
from medsam_edge.runtime.metrics import Summary
from medsam_edge.runtime.predictor import ServedBy


def candidate(name: str, role: str, milliseconds: float, rounds: int = 5) -> CandidateReport:
    names = (*STAGES, many_stage(32))
    latencies = tuple(Latency(stage, (milliseconds * (at + 1),) * rounds, ()) for at, stage in enumerate(names))
    served_by = ServedBy("fake", "1", "CPU", "f32", {})
    return CandidateReport(name, name, role, "", served_by, latencies, 1.0, 2.0, 3.0, 4.0, Summary(1, 1.0, 1.0, 1.0))


def test_own_candidates_are_held_against_all_others_stage_by_stage() -> None:
    everyone = (
        candidate("a", "own", 1.0),
        candidate("b", "own", 2.0),
        candidate("c", "against", 3.0),
        candidate("d", "baseline", 4.0),
    )
    found = list(ratios(everyone))
    assert {(one.candidate, one.reference): one.ratio for one in found} == {
        ("a", "c"): 3.0,
        ("a", "d"): 4.0,
        ("b", "c"): 1.5,
        ("b", "d"): 2.0,
    }
    assert [one.stage for one in found[:6]] == [*STAGES, "decode 32 boxes"]


def test_a_stage_that_the_clock_did_not_see_has_no_ratio() -> None:
    assert not list(ratios((candidate("a", "own", 0.0), candidate("d", "baseline", 4.0))))


def test_the_share_of_the_machine_is_operations_over_time_over_its_rate() -> None:
    machine = MachineRate("numpy", (1000, 1000, 1000), (10.0,), ())  # 2 GFLOP in 10 ms
    found = efficiency(candidate("a", "own", 5.0), 32, Operations(0.25, 0.03), machine)
    assert machine.gflops == pytest.approx(200)
    assert found.encoder_gflops == pytest.approx(50)  # 0.5 GFLOP in 10 ms
    assert found.decoder_gflops == pytest.approx(4)  # 0.06 GFLOP in 15 ms
    assert found.encoder_share == pytest.approx(0.25)
    assert found.per_box_ratio == pytest.approx(2)  # 30 ms a box among many, 15 ms alone


def test_what_is_not_known_is_none() -> None:
    found = efficiency(candidate("a", "own", 5.0), 0, None, None)
    assert (found.per_box_ratio, found.encoder_gflops, found.decoder_gflops, found.encoder_share) == (None,) * 4
