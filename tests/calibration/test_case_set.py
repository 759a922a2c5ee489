from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.calibration import case_set as module
from medsam_edge.calibration.case_set import PHANTOM_SEEDS, CaseRef, CaseSet, Purpose, case_set, pixel_hash, size_of
from medsam_edge.calibration.phantoms import MODALITIES
from medsam_edge.runtime.errors import CaseError, StorageError
from medsam_edge.runtime.types import Case

HEADER = "id,file,modality,patient,split"
REAL = Path(__file__).parents[2].parent / "shared" / "cases"
LABELS = np.zeros((20, 30), np.uint8)
LABELS[2:7, 3:9], LABELS[10:18, 20:30] = 1, 2  # 30 and 80 of 600 pixels


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


def saved(path: Path, **arrays: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **({"imgs": pixels(), "gts": LABELS} | arrays))
    return path


def refused(source: Path, *words: str) -> None:
    with pytest.raises(CaseError) as caught:
        case_set(source, "calibration")
    for word in (*words, "To mend it"):
        assert word in str(caught.value)


def test_a_folder_is_looked_at_and_its_table_is_believed(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz")
    saved(tmp_path / "2DBox_XRay_hip_2.npz", imgs=pixels(1))
    (tmp_path / "cases.csv").write_text(f"{HEADER}\nA,a.npz,us,p1,\n")
    second, first = case_set(tmp_path, "calibration").refs[::-1]
    assert (second.id, second.modality, second.patient, second.patient_named) == ("A", "Ultrasound", "p1", True)
    assert (first.modality, first.patient, first.patient_named) == ("X-ray", "2DBox_XRay_hip_2", False)
    assert (first.objects, first.size, first.stratum) == (2, "medium", ("X-ray", "medium"))
    assert first.patient_key is None


def test_the_source_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    (tmp_path / "list.csv").write_text(f"{HEADER}\nA,a.npz,CT,p1,calibration\n")
    sources = [case_set(each, "calibration").source for each in (tmp_path, tmp_path / "list.csv", path)]
    assert sources == ["folder", "csv", "npz"]
    assert len(case_set(tmp_path / "list.csv", "calibration", split="calibration")) == 1


def test_a_file_that_was_saved_again_has_the_same_pixels(tmp_path: Path) -> None:
    gray = pixels()[..., 0]
    saved(tmp_path / "a.npz", imgs=gray)
    np.savez(tmp_path / "b.npz", gts=LABELS, imgs=np.stack([gray] * 3, axis=2))
    first, second = case_set(tmp_path, "calibration").refs
    assert first.pixel_sha256 == second.pixel_sha256
    assert first.file_sha256 != second.file_sha256


def test_the_pixel_hash_knows_shape_and_values() -> None:
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    last = image.copy()
    last[-1, -1, -1] += 1
    others = (image.reshape(4, 3, 3), image[::-1], image + 1, last)
    assert len({pixel_hash(each) for each in (image, *others)}) == 5
    assert pixel_hash(np.asfortranarray(image)) == pixel_hash(image)


def test_cases_are_read_again_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        saved(tmp_path / f"2DBox_US_{name}_1.npz")
    cases = case_set(tmp_path, "calibration")
    opened: list[str] = []
    read = module.read_listed

    def noted(file: module.CaseFile) -> tuple[Case, str]:
        opened.append(file.path.name)
        return read(file)

    monkeypatch.setattr(module, "read_listed", noted)
    first = next(iter(cases))
    assert opened == ["2DBox_US_a_1.npz"]
    np.testing.assert_array_equal(first.image, pixels())
    assert first.modality == "Ultrasound"
    assert [case.id for case in cases] == [ref.id for ref in cases.refs]


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    cases = case_set(path, "calibration")
    saved(path, imgs=pixels(1))
    with pytest.raises(CaseError, match=r"sha256.*a\.npz"):
        list(cases)


BROKEN: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "no mask": ({"gts": None, "boxes": [[1, 1, 9, 9]]}, ("a case with masks (`gts`)", "only boxes")),
    "empty": ({"gts": LABELS * 0}, ("background only",)),
    "no boxes": ({"gts": None, "boxes": np.zeros((0, 4))}, ("at least one box",)),
    "neither": ({"gts": None}, ("`boxes`, `gts` or both",)),
    "all black": ({"imgs": np.zeros((20, 30, 3), np.uint8)}, ("not all one colour", "[0, 0, 0]")),
    "all blue": ({"imgs": np.full((20, 30, 3), (0, 0, 9), np.uint8)}, ("not all one colour", "[0, 0, 9]")),
    "NaN": ({"imgs": np.where(pixels() > 250, np.nan, pixels())}, ("NaN or infinite values",)),
    "infinite": ({"imgs": np.where(pixels() > 250, np.inf, pixels())}, ("NaN or infinite values",)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_case_that_cannot_be_used_is_refused_by_name(name: str, tmp_path: Path) -> None:
    arrays, words = BROKEN[name]
    whole = {"imgs": pixels(), "gts": LABELS} | arrays
    saved_arrays = {key: np.asarray(value) for key, value in whole.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **saved_arrays)
    refused(tmp_path, "bad.npz", *words)


def test_one_pixel_of_another_colour_is_enough(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[19, 29, 2] = 1
    assert len(case_set(saved(tmp_path / "a.npz", imgs=image), "calibration")) == 1


def test_a_corrupted_file_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "bad.npz")
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[:100] + bytes(200) + whole[300:]):
        path.write_bytes(data)
        refused(tmp_path, "bad.npz")


def test_a_wrong_modality_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"damaged")
    (tmp_path / "cases.csv").write_text(f"{HEADER}\nA,a.npz,Ultrasond,p1,\n")
    refused(tmp_path, "“Ultrasond”", "a.npz", "write Ultrasound")


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        case_set(tmp_path / "absent", "calibration")


@pytest.mark.parametrize(("area", "size"), [(99, "small"), (100, "medium"), (999, "medium"), (1000, "large")])
def test_the_size_is_the_share_of_the_image(area: int, size: str) -> None:
    mask = np.arange(10_000) < area
    assert size_of(mask.reshape(1, 100, 100)) == size


def test_the_size_of_many_objects_is_their_median() -> None:
    masks = np.zeros((3, 10, 10), bool)
    masks[0], masks[1, 0, :5], masks[2, 0, :6] = True, True, True
    assert size_of(masks) == "medium"


def test_phantoms_serve_where_there_are_no_cases() -> None:
    for source in (None, "phantoms"):
        cases = case_set(source, "calibration", phantoms=7)
        assert cases.source == "phantoms"
        assert {ref.modality for ref in cases.refs} == set(MODALITIES)
    assert [case.id for case in cases] == [ref.id for ref in cases.refs]
    for case, ref in zip(cases, cases.refs, strict=True):
        assert pixel_hash(case.image) == ref.pixel_sha256


def test_phantoms_of_two_purposes_share_nothing() -> None:
    purposes: tuple[Purpose, ...] = ("calibration", "selection", "evaluation")
    refs = [ref for purpose in purposes for ref in case_set(None, purpose, phantoms=3).refs]
    assert len({ref.pixel_sha256 for ref in refs}) == len({ref.patient_key for ref in refs}) == 9
    starts = sorted((*PHANTOM_SEEDS.values(), 5_000_000, 10_000_000))
    assert all(late - early >= module.MAX_PHANTOMS for early, late in pairwise(starts))


@pytest.mark.parametrize("count", [0, -1, module.MAX_PHANTOMS + 1])
def test_a_number_of_phantoms_that_cannot_be_meant_is_refused(count: int) -> None:
    with pytest.raises(CaseError, match="phantoms"):
        case_set(None, "calibration", phantoms=count)


def test_phantoms_have_no_split() -> None:
    with pytest.raises(CaseError, match="split “test” of phantoms"):
        case_set("phantoms", "calibration", split="test")


def test_progress_is_told(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz")
    told: list[tuple[str, int, int]] = []
    case_set(tmp_path, "calibration", progress=lambda *each: told.append(each))
    case_set(None, "calibration", phantoms=1, progress=lambda *each: told.append(each))
    assert told == [("a", 0, 1), ("phantom-Microscopy-6000000", 0, 1)]


def test_a_set_is_in_the_order_of_ids_and_has_each_once(ref: Callable[..., CaseRef]) -> None:
    assert [each.id for each in CaseSet("csv", (ref("b"), ref("a"))).refs] == ["a", "b"]
    with pytest.raises(CaseError, match="“a” twice"):
        CaseSet("csv", (ref("a"), ref("a")))
    with pytest.raises(CaseError, match="at least one case"):
        CaseSet("csv", ())


@pytest.mark.skipif(not REAL.is_dir(), reason="the real cases are not part of the project")
def test_the_real_cases_are_usable() -> None:
    cases = case_set(REAL, "calibration", split="calibration")
    assert {ref.modality for ref in cases.refs} == {"X-ray", "MR", "OCTA"}
    assert all(ref.patient_named for ref in cases.refs)
