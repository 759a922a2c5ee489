from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.case_list import CaseFile, list_cases
from medsam_edge.runtime.cases import read_cases
from medsam_edge.runtime.errors import CaseError, StorageError

HEADER = "id,file,modality,patient,split"


def touched(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return path


def test_a_csv_anywhere_names_files_relative_to_itself(tmp_path: Path) -> None:
    touched(tmp_path, "data/a.npz", "data/more/b.npz", "data/unlisted.npz")
    rows = ("b,../data/more/b.npz,MR,p1,", f"a,{tmp_path / 'data' / 'a.npz'},CT,p2,")
    files = list_cases(table(tmp_path / "lists" / "mine.csv", *rows))
    assert [file.path for file in files] == [tmp_path / "data/more/b.npz", tmp_path / "data/a.npz"]
    assert [(file.id, file.modality, file.patient) for file in files] == [("b", "MR", "p1"), ("a", "CT", "p2")]


def test_a_csv_named_itself_lists_only_what_it_names(tmp_path: Path) -> None:
    touched(tmp_path, "a.npz", "b.npz")
    path = table(tmp_path / "cases.csv", "A,a.npz,MR,p,")
    assert [file.id for file in list_cases(path)] == ["A"]
    assert [file.id for file in list_cases(tmp_path)] == ["A", "b"]


def test_files_of_one_name_in_two_folders_are_two_cases(tmp_path: Path) -> None:
    touched(tmp_path, "one/1.npz", "two/1.npz")
    files = list_cases(table(tmp_path / "all.csv", "x,one/1.npz,,,", "y,two/1.npz,,,"))
    assert [file.path.parent.name for file in files] == ["one", "two"]


def test_one_file_under_two_spellings_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "one/1.npz")
    with pytest.raises(CaseError, match=r"“1\.npz” twice"):
        list_cases(table(tmp_path / "all.csv", "x,one/1.npz,,,", "y,one/../one/1.npz,,,"))


def test_one_npz_is_a_list_of_one(tmp_path: Path) -> None:
    touched(tmp_path, "2DBox_US_heart_1.npz", "other.npz")
    path = tmp_path / "2DBox_US_heart_1.npz"
    assert list_cases(path) == (CaseFile(path, path.stem, "US", path.stem),)


def test_only_a_named_patient_counts_as_named(tmp_path: Path) -> None:
    touched(tmp_path, "a.npz", "b.npz", "c.npz")
    table(tmp_path / "cases.csv", "A,a.npz,MR,p,", "B,b.npz,MR,,")
    assert [(file.patient, file.patient_named) for file in list_cases(tmp_path)] == [
        ("p", True),
        ("B", False),
        ("c", False),
    ]


def test_a_split_of_a_csv(tmp_path: Path) -> None:
    touched(tmp_path, "a.npz", "b.npz")
    path = table(tmp_path / "mine.csv", "A,a.npz,MR,p,test", "B,b.npz,MR,q,calibration")
    assert [file.id for file in list_cases(path, "calibration")] == ["B"]
    with pytest.raises(CaseError, match=r"split “train”.*only calibration, test"):
        list_cases(path, "train")


def test_what_a_csv_lists_must_be_there(tmp_path: Path) -> None:
    path = table(tmp_path / "mine.csv", "A,a.npz,MR,p,test")
    with pytest.raises(CaseError, match=r"mine\.csv lists; found a\.npz missing"):
        list_cases(path)


def test_what_holds_no_case_is_refused(tmp_path: Path) -> None:
    touched(tmp_path, "scan.nii.gz")
    with pytest.raises(CaseError, match="none in"):
        list_cases(table(tmp_path / "volumes.csv", "V,scan.nii.gz,CT,p,"))
    with pytest.raises(CaseError, match=r"a folder of cases, a \.csv list of them or one \.npz"):
        list_cases(tmp_path / "scan.nii.gz")
    with pytest.raises(StorageError, match="No such file"):
        list_cases(tmp_path / "absent.csv")


def test_the_cases_of_a_list_are_read(tmp_path: Path) -> None:
    image, boxes = np.zeros((9, 8, 3), np.uint8), np.array([[1, 1, 5, 5]])
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", imgs=image, boxes=boxes)
    path = table(tmp_path / "mine.csv", "A,data/a.npz,MR,p,")
    assert [(case.id, case.modality, case.patient) for case in read_cases(path)] == [("A", "MR", "p")]
    assert [case.id for case in read_cases(tmp_path / "data" / "a.npz")] == ["a"]
