import random
from collections import Counter
from collections.abc import Callable

import pytest
from medsam_edge.calibration.case_sampling import sampled, split_by_patient
from medsam_edge.calibration.case_set import CaseRef, CaseSet
from medsam_edge.runtime.errors import CaseError

MakeRef = Callable[..., CaseRef]
SHARES = {"calibration": 0.5, "selection": 0.25, "evaluation": 0.25}


@pytest.fixture
def mixed(ref: MakeRef) -> CaseSet:
    """60 small CT, 30 large CT, 9 MR and 1 X-ray, each of a patient of its own."""
    kinds = [("CT", "small")] * 60 + [("CT", "large")] * 30 + [("MR", "small")] * 9 + [("X-ray", "medium")]
    return CaseSet("csv", tuple(ref(f"c{i:03d}", name, f"p{i}", size=size) for i, (name, size) in enumerate(kinds)))


def strata(cases: CaseSet) -> Counter[tuple[str, str]]:
    return Counter(ref.stratum for ref in cases.refs)


def ids(cases: CaseSet) -> list[str]:
    return [ref.id for ref in cases.refs]


def test_a_sample_is_in_proportion_and_forgets_no_stratum(mixed: CaseSet) -> None:
    expected = {("CT", "small"): 12, ("CT", "large"): 6, ("MR", "small"): 2, ("X-ray", "medium"): 1}
    assert strata(sampled(mixed, 21, 0)) == expected


def test_too_small_a_sample_takes_every_modality_before_every_size(mixed: CaseSet) -> None:
    assert set(strata(sampled(mixed, 3, 0))) == {("CT", "small"), ("MR", "small"), ("X-ray", "medium")}
    assert set(strata(sampled(mixed, 1, 0))) == {("CT", "small")}
    assert set(strata(sampled(mixed, 4, 0))) == set(strata(mixed))


def test_a_sample_of_everything_is_everything(mixed: CaseSet) -> None:
    assert sampled(mixed, 100, 0) == sampled(mixed, 5000, 0) == mixed


def test_a_sample_has_as_many_cases_as_were_asked_for(mixed: CaseSet) -> None:
    for count in (1, 2, 5, 32, 64, 99):
        assert len(sampled(mixed, count, 3)) == count


def test_the_seed_decides_and_the_order_of_files_does_not(mixed: CaseSet) -> None:
    shuffled = list(mixed.refs)
    random.Random(1).shuffle(shuffled)
    assert sampled(CaseSet("csv", tuple(shuffled)), 32, 7) == sampled(mixed, 32, 7)
    assert ids(sampled(mixed, 32, 7)) != ids(sampled(mixed, 32, 8))


def test_no_patient_is_taken_twice_before_each_was_taken_once(ref: MakeRef) -> None:
    slices = [ref(f"many{i}", "CT", "many") for i in range(50)] + [ref(f"one{i}", "CT", f"one{i}") for i in range(5)]
    for seed in range(5):
        chosen = sampled(CaseSet("csv", tuple(slices)), 8, seed)
        assert Counter(each.patient == "many" for each in chosen.refs) == {True: 3, False: 5}


@pytest.mark.parametrize("count", [0, -3])
def test_an_empty_sample_is_refused(mixed: CaseSet, count: int) -> None:
    with pytest.raises(CaseError, match="at least one case"):
        sampled(mixed, count, 0)


def test_a_split_shares_no_patient_and_loses_no_case(ref: MakeRef) -> None:
    slices = tuple(ref(f"p{p}-{i}", ("CT", "MR")[p % 2], f"p{p}") for p in range(20) for i in range(p % 4 + 1))
    cases = CaseSet("csv", slices)
    for seed in range(5):
        parts = split_by_patient(cases, SHARES, seed)
        assert list(parts) == list(SHARES)
        assert sorted(name for part in parts.values() for name in ids(part)) == ids(cases)
        patients = [{each.patient for each in part.refs} for part in parts.values()]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 20


def test_a_split_keeps_shares_and_modalities(ref: MakeRef) -> None:
    kinds = ["CT"] * 40 + ["MR"] * 16 + ["X-ray"] * 8
    cases = CaseSet("csv", tuple(ref(f"c{i}", name, f"p{i}") for i, name in enumerate(kinds)))
    parts = split_by_patient(cases, SHARES, 0)
    assert [len(part) for part in parts.values()] == [32, 16, 16]
    for part, share in zip(parts.values(), SHARES.values(), strict=True):
        counts = Counter(each.modality for each in part.refs)
        assert counts == {"CT": 40 * share, "MR": 16 * share, "X-ray": 8 * share}


def test_shares_are_kept_where_no_modality_can_be_parted(ref: MakeRef) -> None:
    cases = CaseSet("csv", tuple(ref(f"c{i}", f"modality {i}", f"p{i}") for i in range(8)))
    assert [len(part) for part in split_by_patient(cases, SHARES, 0).values()] == [4, 2, 2]


def test_shares_need_not_add_up_to_one(ref: MakeRef) -> None:
    cases = CaseSet("csv", tuple(ref(f"c{i}", "CT", f"p{i}") for i in range(30)))
    parts = split_by_patient(cases, {"calibration": 20, "evaluation": 10}, 0)
    assert [len(part) for part in parts.values()] == [20, 10]


def test_no_set_of_a_split_is_empty(ref: MakeRef) -> None:
    cases = CaseSet("csv", tuple(ref(f"c{i}", name, f"p{i}") for i, name in enumerate(("CT", "MR", "X-ray"))))
    for seed in range(5):
        parts = split_by_patient(cases, {"calibration": 0.9, "selection": 0.05, "evaluation": 0.05}, seed)
        assert [len(part) for part in parts.values()] == [1, 1, 1]


def test_a_split_depends_on_the_seed_and_not_on_the_order(mixed: CaseSet) -> None:
    shuffled = list(mixed.refs)
    random.Random(1).shuffle(shuffled)
    assert split_by_patient(CaseSet("csv", tuple(shuffled)), SHARES, 7) == split_by_patient(mixed, SHARES, 7)
    assert split_by_patient(mixed, SHARES, 8) != split_by_patient(mixed, SHARES, 7)


def together(cases: CaseSet, names: set[str]) -> bool:
    return all(
        sum(bool(names & set(ids(part))) for part in split_by_patient(cases, SHARES, seed).values()) == 1
        for seed in range(10)
    )


def test_one_patient_is_one_however_it_is_written(ref: MakeRef) -> None:
    others = [ref(f"c{i}", "CT", f"p{i}") for i in range(9)]
    cases = CaseSet("csv", (*others, ref("x", "CT", "Ann"), ref("y", "CT", "ANN"), ref("Ann", "MR")))
    assert together(cases, {"x", "y", "Ann"})


def test_the_same_pixels_stay_together_also_by_way_of_others(ref: MakeRef) -> None:
    others = [ref(f"c{i}", "CT", f"p{i}") for i in range(9)]
    chain = [ref("a", "CT", "A", "one"), ref("b", "CT", "B", "two"), ref("c", "CT", "C", "one")]
    link = ref("d", "CT", "B", "one")  # joins two groups that stood apart
    cases = CaseSet("csv", (*others, *chain, link))
    assert together(cases, {"a", "b", "c", "d"})
    assert not together(cases, {"c0", "c1"})


def test_fewer_patients_than_sets_are_refused(ref: MakeRef) -> None:
    cases = CaseSet("csv", tuple(ref(f"c{i}", "CT", f"p{i % 2}") for i in range(9)))
    with pytest.raises(CaseError, match=r"at least 3 patients.*found 2"):
        split_by_patient(cases, SHARES, 0)


def test_a_share_of_nothing_is_refused(mixed: CaseSet) -> None:
    with pytest.raises(CaseError, match="shares above 0"):
        split_by_patient(mixed, {"calibration": 1, "evaluation": 0}, 0)


def test_a_large_patient_is_joined_in_good_time(ref: MakeRef) -> None:
    cases = CaseSet("csv", tuple(ref(f"c{i}", "CT", f"p{i % 3}") for i in range(6000)))
    assert [len(part) for part in split_by_patient(cases, SHARES, 0).values()] == [2000, 2000, 2000]
