"""Sharing cases out: nobody in two sets, the asked number in each, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
from medsam_edge.calibration.three_sets import Counts, Sources, ThreeSets, three_sets
from medsam_edge.runtime.errors import CaseError

MODALITIES = ("CT", "MR")


def quiet(_name: str, _done: int, _all: int) -> None:
    """Say nothing."""


def folder(path: Path, patients: int, first: int = 0) -> Path:
    """Two images of each patient, all different, and the csv that names them."""
    path.mkdir()
    rows = ["id,file,modality,patient,split"]
    for number in range(first, first + 2 * patients):
        image = np.random.default_rng(number).integers(0, 255, (32, 32, 3)).astype(np.uint8)
        labels = np.zeros((32, 32), np.uint8)
        labels[4:20, 4 + number % 3 : 20] = 1
        np.savez(path / f"c{number}.npz", imgs=image, gts=labels)
        split = "test" if number % 4 < 2 else "calibration"
        rows.append(f"c{number},c{number}.npz,{MODALITIES[number % 2]},P{number // 2},{split}")
    (path / "cases.csv").write_text("\n".join(rows) + "\n")
    return path


def patients(sets: ThreeSets) -> list[set[str]]:
    return [{ref.patient for ref in one.refs} for one in (sets.calibration, sets.selection, sets.evaluation)]


def test_one_list_is_parted_by_patient(tmp_path: Path) -> None:
    sets = three_sets(Sources(folder(tmp_path / "cases", 10)), quiet)
    first, second, third = patients(sets)
    assert min(map(len, (first, second, third)))
    assert not first & second | first & third | second & third
    assert len(first | second | third) == 10
    again = three_sets(Sources(tmp_path / "cases"), quiet)
    assert again == sets


def test_counts_are_the_most_of_each(tmp_path: Path) -> None:
    sets = three_sets(Sources(folder(tmp_path / "cases", 12), counts=Counts(4, 2, 3)), quiet)
    assert (len(sets.calibration), len(sets.selection), len(sets.evaluation)) == (4, 2, 3)


def test_a_split_of_the_same_list_may_be_judged_on(tmp_path: Path) -> None:
    sets = three_sets(Sources(folder(tmp_path / "cases", 12), split="calibration", evaluation_split="test"), quiet)
    assert {ref.id for ref in sets.evaluation.refs} == {f"c{n}" for n in range(24) if n % 4 < 2}
    assert not patients(sets)[0] & patients(sets)[2]


def test_lists_that_share_a_patient_are_refused(tmp_path: Path) -> None:
    """The pixels differ; only the patients' names are the same."""
    one, other = folder(tmp_path / "one", 6), folder(tmp_path / "other", 6, first=100)
    (other / "cases.csv").write_text((other / "cases.csv").read_text().replace("P50,", "P3,"))
    with pytest.raises(CaseError, match="patient"):
        three_sets(Sources(one, other), quiet)


def test_too_few_to_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="at least 3 cases"):
        three_sets(Sources(folder(tmp_path / "cases", 1)), quiet)


def test_phantoms_of_three_purposes_and_their_warnings() -> None:
    sets = three_sets(Sources("phantoms", counts=Counts(3, 2, 2)), quiet)
    origins = [ref.origin for one in (sets.calibration, sets.selection, sets.evaluation) for ref in one.refs]
    assert len(set(origins)) == 7
    assert any(text.startswith("evaluation: the cases are phantoms") for text in sets.warnings)
    assert [one["purpose"] for one in sets.records("medsam")] == ["calibration", "selection", "evaluation"]
