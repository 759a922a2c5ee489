import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime import cases as module
from medsam_edge.runtime.boxes import boxes_from_masks
from medsam_edge.runtime.cases import read_case, read_cases
from medsam_edge.runtime.errors import CaseError, ExitCode, StorageError

IMAGE = (np.arange(20 * 30 * 3).reshape(20, 30, 3) % 256).astype(np.uint8)
LABELS = np.zeros((20, 30), np.uint16)
LABELS[2:5, 3:9], LABELS[10:20, 20:30] = 4, 700  # gaps in the numbering
TIGHT = [[3, 2, 8, 4], [20, 10, 29, 19]]
HEADER = "id,file,modality,patient,split,sha256"
REAL = Path(__file__).parents[2].parent / "shared" / "cases"


def made(folder: Path, name: str = "2DBox_CT_abdomen_1.npz", **arrays: object) -> Path:
    path = folder / name
    np.savez_compressed(path, **({"imgs": IMAGE} | arrays))
    return path


def table(folder: Path, *rows: str, header: str = HEADER) -> None:
    (folder / "cases.csv").write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")


def refused(action: Callable[[], object], *words: str) -> None:
    with pytest.raises(CaseError) as caught:
        action()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_boxes_belong_to_the_labels_in_ascending_order(tmp_path: Path) -> None:
    boxes = np.array([[2, 1, 10, 6], [18, 8, 30, 20]], np.int32)
    case = read_case(made(tmp_path, gts=LABELS, boxes=boxes))
    assert (case.id, case.patient, case.modality) == ("2DBox_CT_abdomen_1", "2DBox_CT_abdomen_1", "CT")
    np.testing.assert_array_equal(case.image, IMAGE)
    np.testing.assert_array_equal(case.boxes, boxes)
    assert case.boxes.dtype == np.float32
    assert case.masks is not None
    assert case.masks.dtype == np.bool_
    np.testing.assert_array_equal(case.masks, [LABELS == 4, LABELS == 700])


def test_missing_boxes_are_the_tight_ones_and_missing_masks_are_none(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_case(made(tmp_path, gts=LABELS)).boxes, TIGHT)
    case = read_case(made(tmp_path, boxes=np.array(TIGHT, float)))
    assert case.masks is None
    np.testing.assert_array_equal(case.boxes, TIGHT)


def test_a_gray_image_and_a_foreign_name_are_fine(tmp_path: Path) -> None:
    case = read_case(made(tmp_path, "mine.npz", imgs=IMAGE[..., 0], gts=LABELS))
    assert case.modality == "unknown"
    np.testing.assert_array_equal(case.image, np.stack([IMAGE[..., 0]] * 3, axis=2))


REFUSED: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "neither boxes nor masks": ({}, ("`boxes`, `gts` or both", "only `imgs`")),
    "background only": ({"gts": LABELS * 0}, ("at least one box", "background only")),
    "more boxes than labels": ({"gts": LABELS, "boxes": TIGHT * 2}, ("4 boxes and 2 labels",)),
    "boxes without labels": ({"gts": LABELS * 0, "boxes": TIGHT}, ("2 boxes and 0 labels",)),
    "a box outside": ({"boxes": [[0, 0, 31, 5]]}, ("box 1 of 1", "0,0,30,5")),
    "a box without area": ({"boxes": [[5, 5, 5, 9]]}, ("area",)),
    "volume boxes": ({"boxes": [[1, 2, 3, 4, 5, 6]]}, ("(1, 6)", "not of a volume")),
    "boxes as text": ({"boxes": [["a"] * 4]}, ("<U1",)),
    "endless boxes": ({"boxes": np.zeros((100_001, 4))}, ("(100001, 4)",)),
    "masks of another size": ({"gts": LABELS.T}, ("(30, 20)", "(20, 30)")),
    "masks as floats": ({"gts": LABELS / 2}, ("float64",)),
    "negative labels": ({"gts": LABELS.astype(int) - 1}, ("-1",)),
    "a volume": ({"imgs": np.zeros((9, 8, 7), np.uint8), "boxes": TIGHT}, ("a volume of shape (9, 8, 7)",)),
    "16 bit": ({"imgs": IMAGE.astype(np.uint16), "boxes": TIGHT}, ("uint16", "window it")),
    "floats": ({"imgs": IMAGE / 255, "boxes": TIGHT}, ("float64", "window it")),
    "not numbers": (
        {"imgs": np.where(IMAGE > 250, np.nan, IMAGE), "boxes": TIGHT},
        (f"{int((IMAGE > 250).sum())} NaN or infinite values",),
    ),
    "endless": ({"imgs": np.full((9, 9), np.inf, np.float16), "boxes": TIGHT}, ("float16 with 81 NaN or infinite",)),
    "pickled boxes": ({"boxes": np.array([None])}, ("pickled",)),
    "too many masks": ({"gts": LABELS, "boxes": TIGHT}, ("2 objects on 20 x 30",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_that_cannot_be_used_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, words = REFUSED[name]
    if name == "too many masks":
        monkeypatch.setattr(module, "MAX_MASK_BYTES", 1000)
    path = made(tmp_path, **arrays)
    refused(lambda: read_case(path), path.name, *words)


def test_a_damaged_or_missing_case_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, gts=LABELS)
    whole = path.read_bytes()
    for data in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(data)
        refused(lambda: read_case(path), "an intact .npz archive", path.name)
    path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        read_case(path)


def test_a_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    for name in ("2DBox_MR_b.npz", "2DBox_US_a.npz", "2DBox_CT_c.npz"):
        made(tmp_path, name, gts=LABELS)
    (tmp_path / "notes.txt").touch()
    assert [case.modality for case in read_cases(tmp_path)] == ["CT", "MR", "US"]


def test_the_table_names_modality_patient_and_split(tmp_path: Path) -> None:
    digest = hashlib.sha256(made(tmp_path, "b.npz", gts=LABELS).read_bytes()).hexdigest()
    for name in ("a.npz", "c.npz"):
        made(tmp_path, name, gts=LABELS)
    table(tmp_path, f"B,b.npz,MR,p1,test,{digest.upper()}", "A,a.npz,,,train,", "V,v.nii.gz,CT,p1,test,00")
    seen = [(case.id, case.modality, case.patient) for case in read_cases(tmp_path)]
    assert seen == [("A", "unknown", "A"), ("B", "MR", "p1"), ("c", "unknown", "c")]
    assert [case.id for case in read_cases(tmp_path, "test")] == ["B"]


def test_cases_are_read_one_at_a_time(tmp_path: Path) -> None:
    made(tmp_path, "a.npz", gts=LABELS)
    (tmp_path / "b.npz").write_bytes(b"damaged")
    cases = read_cases(tmp_path)
    assert next(cases).id == "a"
    refused(lambda: next(cases), "b.npz")


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "a.npz", gts=LABELS)
    table(tmp_path, f"a,a.npz,MR,p,test,{'0' * 64}")
    refused(lambda: next(read_cases(tmp_path)), "sha256 000000000000", "a.npz", "copy the file again")


def test_a_folder_without_usable_cases_is_refused(tmp_path: Path) -> None:
    refused(lambda: read_cases(tmp_path), "*.npz", str(tmp_path))
    made(tmp_path, "a.npz", gts=LABELS)
    refused(lambda: read_cases(tmp_path, "test"), "no case with a split")
    table(tmp_path, "a,a.npz,MR,p,train,")
    refused(lambda: read_cases(tmp_path, "test"), "split “test”", "only train")
    with pytest.raises(StorageError, match="No such file"):
        read_cases(tmp_path / "absent")


TABLES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("no id, file, modality, patient",)),
    "lacking": (b"id,file,modality\n", ("no patient",)),
    "missing file": (b"id,file,modality,patient\nb,b.npz,,\n", ("b.npz missing",)),
    "escaping file": (b"id,file,modality,patient\na,../a.npz,,\n", ("../a.npz", "plain file name")),
    "escaping id": (b"id,file,modality,patient\n../a,a.npz,,\n", ("../a",)),
    "short row": (b"id,file,modality,patient\na\n", ("plain file name",)),
    "same file twice": (b"id,file,modality,patient\na,a.npz,,\nb,a.npz,,\n", ("“a.npz” twice",)),
    "same id twice": (b"id,file,modality,patient\na,a.npz,,\na,b.nii.gz,,\n", ("“a” twice",)),
    "patient in two splits": (
        b"id,file,modality,patient,split\na,a.npz,,p,test\nb,b.nii.gz,,p,train\n",
        ("patient “p”", "'test' and 'train'"),
    ),
    "not text": (b"id,file\n\xff\xfe", ("UTF-8",)),
    "open quote": (b'id,file,modality,patient\na,"a.npz', ("csv",)),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_malformed_table_is_refused(name: str, tmp_path: Path) -> None:
    data, words = TABLES[name]
    made(tmp_path, "a.npz", gts=LABELS)
    (tmp_path / "cases.csv").write_bytes(data)
    refused(lambda: read_cases(tmp_path), "cases.csv", *words)


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    made(tmp_path, "a.npz", gts=LABELS)
    (tmp_path / "cases.csv").write_bytes(b"\xef\xbb\xbfid,file,modality,patient\r\nA,a.npz,MR,p,more,cells\r\n")
    assert [case.id for case in read_cases(tmp_path)] == ["A"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real cases are not part of the project")
def test_the_real_cases_agree_with_themselves() -> None:
    cases = {case.id: case for case in read_cases(REAL)}
    assert len(cases) == 14
    assert {case.modality for case in cases.values()} == {"X-ray", "MR", "OCTA", "Microscopy"}
    for case in cases.values():
        assert case.masks is not None
        np.testing.assert_array_equal(boxes_from_masks(case.masks), case.boxes)
    assert len(cases["2DBox_Microscopy_nuclei"].boxes) == 125
    test, calibration = ({c.patient for c in read_cases(REAL, split)} for split in ("test", "calibration"))
    assert len(test) + len(calibration) == 14
    assert not test & calibration
