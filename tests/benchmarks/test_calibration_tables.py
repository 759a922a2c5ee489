"""The tables of `quantize`, and of `inspect` for what it left, filled with long things, 80 columns wide."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.benchmarks.calibration_tables import calibration_tables
from medsam_edge.benchmarks.drawing import Picture
from medsam_edge.benchmarks.inspection import inspected
from medsam_edge.benchmarks.quantize_tables import candidates_table, quantize_tables
from medsam_edge.calibration.case_record import CasesSummary
from medsam_edge.calibration.document import SCHEMA, Calibration, Document
from medsam_edge.calibration.outcome import Candidate, Outcome
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import StorageError
from rich.console import Console, RenderableType

Make = Callable[..., Candidate]
Gather = Callable[..., Outcome]
LIBRARIES = {"python": "3.12.1", "numpy": "2.3.0", "onnx": "1.23.2", "onnxruntime": "1.23.2", "openvino": "2026.4.1"}
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
MODALITIES = (("Dermoscopy", 1234), ("Microscopy", 567), ("CT", 8), ("MR", 7), ("X-ray", 1))


def rendered(what: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80, markup=False, color_system=None).print(what)
    assert max(len(line) for line in stream.getvalue().splitlines()) <= 80
    return stream.getvalue()


def words(what: RenderableType) -> str:
    """What is shown, wherever it was wrapped."""
    return " ".join(rendered(what).split())


def row(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def calibration(outcome: Outcome) -> Calibration:
    record = Document(SCHEMA, "0.1.0", LIBRARIES, "A Processor @ 2.40GHz", 64, FEATURES, "a" * 64, {}, outcome)
    sets = tuple(
        CasesSummary(name, "phantoms", 12345, 1817, 1234, MODALITIES, digit * 64)
        for name, digit in (("calibration", "b"), ("selection", "c"), ("evaluation", "d"))
    )
    return Calibration("calibration-openvino", "", {"whole": True}, record, sets)


def test_every_candidate_has_the_sizes_of_its_file_and_its_process(usual: Outcome) -> None:
    text = rendered(candidates_table(usual))
    assert row(text, "float32") == ["float32", "100", *["-"] * 4, "375", "2210"]
    assert row(text, "int8") == ["int8", "50", "2.00", "0.0003", "0.987", "2", "of", "403", "95", "950"]
    assert row(text, "int8+bf16")[-2:] == ["95", "-"]


def test_the_longest_candidate_fits(candidate: Make, outcome: Gather) -> None:
    sizes = {"memory_bytes": 123_456_000_000, "bytes": 99_999_000_000}
    long = candidate("int8+bf16", 12345, -0.1234, 1.0, attention=True, **sizes)
    text = rendered(candidates_table(outcome(long)))
    for figure in ("int8+bf16", "12345", "-0.1234", "99999", "123456"):
        assert figure in text
    assert "…" not in text


def test_a_quantisation_shows_its_front_and_where_the_picture_is(usual: Outcome) -> None:
    text = words(quantize_tables(usual, Picture(Path("/work/front.svg"), None)))
    assert "Picture: /work/front.svg" in text
    assert "On the front: C, A." in text
    assert "openvino:CPU:int8+bf16: it loses 0.44." in text
    assert "memory: the most that a process" in text
    failed = words(quantize_tables(usual, Picture(None, StorageError("room", "a full disk", "free some"))))
    assert "No picture: expected room; found a full disk" in failed
    assert "icture" not in words(quantize_tables(usual))


def test_a_record_shows_what_was_decided_with_what_on_what(usual: Outcome) -> None:
    text = words(calibration_tables(calibration(usual)))
    for said in (
        "chosen openvino:CPU:int8",
        "int8, ranges by min-max, balanced; blocks kept in float: blocks.0",
        "mean DSC drop 0.005 (bound), worst modality 0.02; margin 1.1",
        "medsam-edge 0.1.0; python 3.12.1",
        "openvino 2026.4.1",
        "A Processor @ 2.40GHz, 64 CPUs",
        "aaaaaaaaaaaaaaaa…",
        "Warning: evaluation: one modality only",
        "openvino:CPU:bf16: 0.83 times as fast",
    ):
        assert said in text


def test_a_record_shows_its_cases_with_shortened_hashes(usual: Outcome) -> None:
    text = words(calibration_tables(calibration(usual)))
    for purpose, digit in (("calibration", "b"), ("selection", "c"), ("evaluation", "d")):
        assert purpose in text
        assert f"{digit * 12}…" in text
        assert digit * 13 not in text
    assert {"Dermoscopy", "1234,", "1817"} <= set(text.split())
    assert "seed 12345" in text


def test_a_record_shows_each_block_with_its_sensitivity_and_scales(usual: Outcome) -> None:
    text = rendered(calibration_tables(calibration(usual)))
    assert row(text, "blocks.0") == ["blocks.0", "attn.qkv:", "float,", "mlp.lin1:", "float", "0.01234", "+0.01230"]
    assert row(text, "neck") == ["neck", "0:", "0.0312", "0.00100", "-0.00010"]
    assert row(text, "patch_embed") == ["patch_embed", "1", "-", "-"]


def test_a_record_shows_the_choices_that_were_refused_and_the_parity_of_the_one_that_was_not(usual: Outcome) -> None:
    text = words(calibration_tables(calibration(usual)))
    assert "Choices of blocks that were refused: 1" in text
    assert "none too much" in text
    assert "Dermoscopy 40 123 +0.0022 0.0044 0.9877" in text
    assert "+0.2100" not in text  # by modality only what was chosen
    many = replace(usual, tried=usual.tried[:1] * 11)
    assert "3 more, see --json" in words(calibration_tables(calibration(many)))


def test_a_record_of_bf16_alone_and_of_random_weights(candidate: Make, outcome: Gather) -> None:
    bare = replace(outcome(candidate("bf16", 50, chosen=True), gating=False), layers=(), recipes=(), tried=())
    text = words(calibration_tables(calibration(bare)))
    assert "no int8 was asked for" in text
    assert "none: random weights, latency only" in text
    assert "Layers in int8" not in text


def test_a_record_that_cannot_be_read_is_told_as_such() -> None:
    found = Calibration("calibration-\x1b[31mx", "expected one schema, found 'other/9'", {})
    text = words(calibration_tables(found))
    assert "not shown: expected one schema, found 'other/9'. --json has it whole." in text
    assert "\x1b" not in text


@pytest.mark.parametrize("problem", ["", "damaged"])
def test_the_json_has_a_record_whole(tiny_bundle: Path, problem: str) -> None:
    bundle = open_bundle(tiny_bundle)
    document = inspected(bundle, [Calibration("calibration-x", problem, {"a": [1]})])
    assert document["calibration"] == [{"kind": "calibration-x", "problem": problem, "record": {"a": [1]}}]
    assert document["root"] == str(bundle.root)
    assert "manifest" in document
