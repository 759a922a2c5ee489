from collections.abc import Callable

import pytest
from medsam_edge.calibration.case_overlap import check_disjoint, fingerprints
from medsam_edge.calibration.case_set import CaseRef, CaseSet
from medsam_edge.runtime.errors import CaseError, ExitCode

MakeRef = Callable[..., CaseRef]


def of(*refs: CaseRef) -> CaseSet:
    return CaseSet("csv", refs)


def refused(calibration: CaseSet, evaluation: CaseSet) -> CaseError:
    with pytest.raises(CaseError) as caught:
        check_disjoint(calibration, evaluation)
    with pytest.raises(CaseError) as again:
        check_disjoint(fingerprints(calibration), fingerprints(evaluation))
    assert str(caught.value) == str(again.value)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value


def test_different_cases_of_different_patients_pass(ref: MakeRef) -> None:
    check_disjoint(of(ref("a", patient="p")), of(ref("b", patient="q")))


def test_a_shared_patient_is_refused_with_the_cases(ref: MakeRef) -> None:
    error = refused(of(ref("a", patient="p1"), ref("x", patient="z")), of(ref("b", patient="P1")))
    assert "common patient" in error.expected
    assert error.found == "one patient: a and b"
    assert "SITE-1" in error.remedy


def test_shared_pixels_are_refused_whatever_the_names(ref: MakeRef) -> None:
    error = refused(of(ref("a", patient="p", pixels="same")), of(ref("b", patient="q", pixels="same")))
    assert "common image" in error.expected
    assert error.found == "the same pixels: a and b"


def test_the_first_few_are_named(ref: MakeRef) -> None:
    first, second = (of(*(ref(f"{side}{i}", pixels=f"{i}") for i in range(5))) for side in "ab")
    assert refused(first, second).found == "the same pixels: a0 and b0, a1 and b1, a2 and b2 and 2 more"


def test_a_patient_that_nobody_named_is_not_compared(ref: MakeRef) -> None:
    check_disjoint(of(ref("slice_001", pixels="one")), of(ref("slice_001", pixels="two")))
    check_disjoint(of(ref("1", pixels="one")), of(ref("x", patient="1", pixels="two")))


def test_the_sets_are_called_by_their_names(ref: MakeRef) -> None:
    with pytest.raises(CaseError, match="selection and evaluation cases without"):
        check_disjoint(of(ref("a", pixels="s")), of(ref("b", pixels="s")), ("selection", "evaluation"))
