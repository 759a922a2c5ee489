"""The record of `accept`: who is signed off by which verdicts, and that an altered record is noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from medsam_edge.benchmarks.acceptance import (
    FAILED,
    LATENCY_ONLY,
    NOT_RUN,
    PASSED,
    Measured,
    Measurement,
    Verdict,
    decide,
    read_record,
)
from medsam_edge.benchmarks.accepting import Terms, accept
from medsam_edge.runtime.errors import ArtefactError

GOOD = Measurement(5, 1, (64, 64), 16, {}, (), "", 0)
VOID = Measurement(0, 0, (0, 0), 16, {}, (), "the power mode changed", 8)
FIGURES = Measured((), 1.0, 2.0, 3.0, None)


def verdict(outcome: str, code: int, required: bool = False) -> Verdict:
    measured = FIGURES if outcome in (PASSED, LATENCY_ONLY) else None
    return Verdict(outcome, required, outcome, "", code, measured=measured)


@pytest.mark.parametrize(
    ("verdicts", "measurement", "signed", "code"),
    [
        ([verdict(PASSED, 0)], GOOD, ("passed",), 0),
        ([verdict(PASSED, 0), verdict(NOT_RUN, 3)], GOOD, ("passed",), 0),
        ([verdict(PASSED, 0), verdict(NOT_RUN, 3, required=True)], GOOD, ("passed",), 3),
        ([verdict(PASSED, 0), verdict(FAILED, 7)], GOOD, ("passed",), 7),
        ([verdict(LATENCY_ONLY, 4)], GOOD, (), 4),
        ([verdict(PASSED, 0)], VOID, (), 8),
        ([verdict(PASSED, 0)], None, (), 3),
        ([verdict(NOT_RUN, 6)], None, (), 6),
        ([], None, (), 3),
    ],
)
def test_a_record_comes_to_what_its_verdicts_say(
    verdicts: list[Verdict], measurement: Measurement | None, signed: tuple[str, ...], code: int
) -> None:
    assert decide(verdicts, measurement) == (signed, code)


@pytest.fixture
def record(asked: object, tiny_bundle: Path, tmp_path: Path) -> Path:
    terms = Terms(["fake"], rounds=1)
    return accept(tiny_bundle, tmp_path, terms, lambda *_: None, lambda _: None).json_file


def failed(document: dict[str, object]) -> None:
    document["passed"] = not document["passed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (failed, "a record with the digest"),
        (lambda document: document.pop("digest"), "a record with the digest"),
        (lambda document: document.update(schema="medsam-edge/bench/2"), "of the schema"),
    ],
)
def test_an_altered_record_is_noticed(record: Path, change: Callable[[dict[str, object]], object], words: str) -> None:
    document = read_record(record)
    change(document)
    record.write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match=words):
        read_record(record)


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"a": NaN}', '{"a": 1, "a": 2}'):
        (tmp_path / "r").write_text(text)
        with pytest.raises(ArtefactError, match="no JSON object"):
            read_record(tmp_path / "r")
