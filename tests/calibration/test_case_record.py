import hashlib
import json
from collections.abc import Callable

import pytest
from medsam_edge.calibration.case_overlap import check_disjoint, fingerprints
from medsam_edge.calibration.case_record import FEWEST, SCHEMA, recorded, to_record, warnings_of
from medsam_edge.calibration.case_set import CaseRef, CaseSet, case_set
from medsam_edge.runtime.errors import BundleError, CaseError

MakeRef = Callable[..., CaseRef]


@pytest.fixture
def many(ref: MakeRef) -> list[CaseRef]:
    return [ref(f"c{i:02d}", ("CT", "MR")[i % 2], f"p{i}") for i in range(FEWEST)]


def test_enough_cases_of_several_modalities_are_no_matter_for_warning(many: list[CaseRef]) -> None:
    assert warnings_of(CaseSet("csv", tuple(many))) == ()


def test_fewer_than_32_cases_are_warned_of(many: list[CaseRef]) -> None:
    (warning,) = warnings_of(CaseSet("csv", tuple(many[1:])))
    assert "only 31 cases" in warning


def test_a_single_modality_is_warned_of(ref: MakeRef) -> None:
    (warning,) = warnings_of(CaseSet("csv", tuple(ref(f"c{i}", "CT", f"p{i}") for i in range(FEWEST))))
    assert "one modality only, CT" in warning


def test_what_nobody_named_is_warned_of(ref: MakeRef, many: list[CaseRef]) -> None:
    more = (ref("x", "unknown", "p"), ref("y", "CT"), ref("z", "CT"))
    modality, patient = warnings_of(CaseSet("csv", (*many, *more)))
    assert modality.startswith("1 of 35 cases name no modality")
    assert patient.startswith("2 of 35 cases name no patient")


def test_phantoms_are_warned_of_and_recorded() -> None:
    cases = case_set(None, "calibration", phantoms=2)
    assert any("synthetic" in warning for warning in warnings_of(cases))
    record = to_record(cases, purpose="calibration", seed=0, profile="medsam")
    assert record["source"] == "phantoms"
    assert record["warnings"] == list(warnings_of(cases))
    assert [row["file_sha256"] for row in record["cases"]] == [None, None]  # type: ignore[attr-defined]


def test_a_record_holds_everything_but_the_patients_name(ref: MakeRef) -> None:
    cases = CaseSet("folder", (ref("a", "CT", "Jane Doe"), ref("b", "MR")))
    record = json.loads(json.dumps(to_record(cases, purpose="evaluation", seed=7, profile="litemedsam")))
    assert (record["schema"], record["purpose"], record["source"]) == (SCHEMA, "evaluation", "folder")
    assert (record["seed"], record["profile"]) == (7, "litemedsam")
    assert record["cases"][0] == {
        "id": "a",
        "modality": "CT",
        "size": "small",
        "objects": 1,
        "patient_sha256": hashlib.sha256(b"jane doe").hexdigest()[:16],
        "pixel_sha256": "pixels of a",
        "file_sha256": "file of a",
    }
    assert record["cases"][1]["patient_sha256"] is None
    assert "doe" not in json.dumps(record).lower()


def test_overlap_is_found_in_a_record(ref: MakeRef) -> None:
    cases = CaseSet("csv", (ref("a", "CT", "Jane Doe"), ref("b", "MR")))
    record = json.loads(json.dumps(to_record(cases, purpose="calibration", seed=0, profile="medsam")))
    assert recorded(record) == fingerprints(cases)
    with pytest.raises(CaseError, match="one patient: a and z"):
        check_disjoint(recorded(record), CaseSet("csv", (ref("z", "US", "jane DOE"),)))
    with pytest.raises(CaseError, match="the same pixels: b and z"):
        check_disjoint(recorded(record), CaseSet("csv", (ref("z", "US", pixels="pixels of b"),)))
    check_disjoint(recorded(record), CaseSet("csv", (ref("z", "US", "another"),)))


ROW = {"id": "a", "pixel_sha256": "0", "patient_sha256": None}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"schema": "medsam-edge/cases/2", "cases": [ROW]},
        {"schema": SCHEMA},
        {"schema": SCHEMA, "cases": []},
        {"schema": SCHEMA, "cases": ["a"]},
        {"schema": SCHEMA, "cases": [ROW | {"pixel_sha256": None}]},
        {"schema": SCHEMA, "cases": [ROW | {"patient_sha256": 3}]},
        {"schema": SCHEMA, "cases": [ROW | {"id": None}]},
    ],
)
def test_a_record_that_cannot_be_compared_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="quantize the bundle again"):
        recorded(record)
