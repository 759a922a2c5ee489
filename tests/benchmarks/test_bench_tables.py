"""The tables of `bench`, filled with the longest things that one meets, 80 columns wide."""

import io
from dataclasses import replace
from functools import cache

import pytest
from medsam_edge.benchmarks.bench_tables import bench_tables, latency_table
from medsam_edge.benchmarks.latency import (
    STAGES,
    BenchReport,
    CandidateReport,
    Latency,
    MachineRate,
    Operations,
    many_stage,
    served,
)
from medsam_edge.benchmarks.ratios import efficiency, memory_shares, ratios
from medsam_edge.benchmarks.verification import Limits, VerifyReport
from medsam_edge.runtime.metrics import Summary
from medsam_edge.runtime.predictor import ServedBy
from medsam_edge.runtime.segmentation import Written
from rich.console import Console, RenderableType

SERVED = ServedBy("openvino", "2026.4.1", "GPU.1", "bf16", {})
SCORES = Summary(12345, 0.98765, 0.91234, 0.01234)
FOLDER = "a-bundle-with-a-name-that-says-everything-about-its-graphs.bundle"


def candidate(name: str, role: str = "own", milliseconds: float = 12345.678, count: int = 1000) -> CandidateReport:
    stages = (*STAGES, many_stage(32))
    latencies = tuple(Latency(stage, (milliseconds,) * count, ()) for stage in stages)
    short = {"PyTorch eager": "eager", "PyTorch eager, tuned allocator": "tuned eager"}.get(name, name.split(":")[0])
    return CandidateReport(name, short, role, "", SERVED, latencies, 123456.7, 234567.8, 23456.7, 24567.8, SCORES)


@cache
def report(trained: bool = True, milliseconds: float = 12345.678, count: int = 1000) -> BenchReport:
    rows = (
        candidate("openvino GPU.1 bf16", milliseconds=milliseconds, count=count),
        candidate("onnxruntime f32", milliseconds=milliseconds, count=count),
        candidate(f"{FOLDER}: openvino GPU.1 bf16", "against", 5.5, count),
        candidate("PyTorch eager", "baseline", 99999.9, count),
        candidate("PyTorch eager, tuned allocator", "baseline", 88888.8, count),
    )
    machine = MachineRate("torch", (4096, 768, 3072), (100.0,) * count, ())
    operations = Operations(2734.8, 1.81)
    return BenchReport(
        bundle="b",
        digest="0" * 64,
        trained=trained,
        processor="AMD EPYC 9965 192-Core Processor with a name that is longer than a line",
        cores=384,
        system="Linux",
        environment={},
        rounds=count,
        warmup=5,
        image_hw=(1024, 2048),
        boxes=32,
        candidates=rows,
        ratios=tuple(ratios(rows)),
        machine=machine,
        operations=operations,
        efficiency=tuple(efficiency(row, 32, operations, machine) for row in rows),
        memory=tuple(memory_shares(rows)),
        notes=(),
    )


def whole(what: RenderableType) -> str:
    """The text of a table that fits its place and of which nothing was cut off."""
    stream = io.StringIO()
    Console(file=stream, width=80, markup=False, color_system=None).print(what)
    text = stream.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    return text


def row(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(name)).split()


def test_everything_fits() -> None:
    text = whole(bench_tables(report()))
    for word in ("p50", "p90", "p99", "n", "DSC parity", "12345.68", "1000", "0.98765", "123457", "234568", "23457"):
        assert word in text
    assert "1024 x 2048" in text
    assert text.count(": times as fast") == 4  # two candidates, three references, two columns a table
    assert "encoder 2734.8 GMAC" in text


def test_random_weights_have_no_parity() -> None:
    text = whole(bench_tables(report(trained=False)))
    assert "latency only" in text
    assert "0.98765" not in text


def test_a_percentile_without_support_is_a_dash() -> None:
    assert row(whole(latency_table(report(count=10))), "end to end")[-4:] == ["12345.68", "12345.68", "-", "10"]


def test_a_ratio_stands_with_its_interval_below_what_it_is_against() -> None:
    text = whole(bench_tables(report(milliseconds=50000.0)))
    head = next(line for line in text.splitlines() if "vs eager" in line)
    line = next(line for line in text[text.index(head) :].splitlines() if line.strip().startswith("encode"))
    assert head.index("vs eager") > line.index("2.00 (2.00 to 2.00)") - 20
    assert line.endswith("2.00 (2.00 to 2.00) ")
    assert "1.78 (1.78 to 1.78)" in text[text.index("vs tuned eager") :]


def test_a_ratio_without_enough_rounds_has_no_interval() -> None:
    text = whole(bench_tables(report(milliseconds=50000.0, count=3)))
    assert "2.00" in text
    assert " to 2.00" not in text


def test_a_machine_that_changed_its_speed_is_said() -> None:
    plain = report()
    assert plain.machine is not None
    swung = replace(plain.machine, samples_ms=(100.0, 100.0, 200.0))
    assert "changed by -50%" in " ".join(whole(bench_tables(replace(plain, machine=swung))).split())
    assert "changed by" not in whole(bench_tables(plain))
    text = whole(bench_tables(plain))
    assert "197 GFLOP/s" not in text
    assert "193 GFLOP/s, drift +0.0%" in " ".join(text.split())


def test_what_disturbed_a_run_is_said() -> None:
    found = replace(report(), notes=("x kept computing.",), environment={"OMP_NUM_THREADS": "1"})
    text = " ".join(whole(latency_table(found)).split())
    assert "x kept computing." in text
    assert "Threads are limited by OMP_NUM_THREADS=1." in text


def test_a_note_stays_text_on_its_own_line() -> None:
    text = whole(latency_table(replace(report(), notes=("a\x1b[2Jb\nc\td \u202ee " + "long " * 40,))))
    assert "a\ufffd[2Jb c d \ufffde long" in " ".join(text.split())


def test_memory_stands_with_its_share_of_the_first_baselines() -> None:
    plain = report()
    own = replace(plain.candidates[0], name="own f32", peak_mib=1000.0, peak_many_mib=2000.0)
    eager = replace(plain.candidates[3], peak_mib=2500.0, peak_many_mib=4000.0)
    tuned = replace(plain.candidates[4], peak_mib=2575.0, peak_many_mib=4040.0)
    rows = (own, eager, tuned)
    found = replace(plain, candidates=rows, memory=tuple(memory_shares(rows)), ratios=(), efficiency=())
    text = whole(bench_tables(found))
    start = text[text.index("Start in ms") :]
    assert start.startswith("Start in ms, peak memory in MiB, share of PyTorch eager's")
    assert "one box   share   32 boxes   share" in start
    assert row(start, "own f32")[-4:] == ["1000", "40%", "2000", "50%"]
    assert row(start, "PyTorch eager ")[-4:] == ["2500", "100%", "4000", "100%"]
    assert "103%" in start
    assert "share" not in whole(bench_tables(replace(found, memory=())))
    assert list(memory_shares(rows[:1])) == []
    assert list(memory_shares((own, replace(eager, peak_mib=0.0)))) == []
    (share, _) = memory_shares((replace(own, peak_many_mib=None), eager))
    assert (share.one_box, share.many_boxes) == (0.4, None)


def test_without_pytorch_and_without_many_boxes_there_is_less() -> None:
    plain = report()
    bare = replace(plain, operations=None, machine=None, boxes=0, ratios=(), efficiency=())
    text = whole(bench_tables(bare))
    assert "Use of the machine" not in text
    assert "times as fast" not in text
    unknown = tuple(efficiency(one, 32, None, None) for one in plain.candidates)
    text = whole(bench_tables(replace(plain, operations=None, machine=None, efficiency=unknown)))
    assert "one of many boxes" in text
    assert "GMAC" not in text


@pytest.mark.parametrize("passed", [True, False])
def test_the_demo_fits_and_names_what_it_wrote(passed: bool) -> None:
    pytest.importorskip("torch")
    from medsam_edge.benchmarks import tables
    from medsam_edge.benchmarks.demo import DemoResult

    one = Written("a.png", 3, (), 9.5, SERVED, "a_labels.png", "a_overlay.png", "a_report.json", None)
    verification = VerifyReport("b", "0" * 64, True, Limits(), ())
    object.__setattr__(verification, "passed", passed)
    text = whole(tables.demo_tables(DemoResult("demo-output/b", verification, one, report())))
    assert ("PARITY FAILED" in text) is not passed
    for path in ("demo-output/b", one.overlay, one.labels, one.report):
        assert path in text


@pytest.mark.parametrize(
    ("device", "name"), [("CPU", "openvino bf16"), ("GPU.1", "openvino GPU.1 bf16"), ("NPU", "openvino NPU bf16")]
)
def test_a_backend_is_named_with_its_device_and_precision(device: str, name: str) -> None:
    assert served(replace(SERVED, device=device)) == name
