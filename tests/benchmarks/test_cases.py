from pathlib import Path

import numpy as np
import pytest
from medsam_edge.benchmarks import cases as module
from medsam_edge.benchmarks.cases import FIRST_GOLDEN_SEED, ODD_SIZE, cases_for, golden_cases, phantom_cases
from medsam_edge.calibration.phantoms import MODALITIES
from medsam_edge.runtime.errors import CaseError, StorageError, UsageError


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[object, ...]]]:
    """The seeds that phantoms are drawn from; drawing itself has its own tests."""
    drawn: list[tuple[int, tuple[object, ...]]] = []

    def phantom(seed: int, *rest: object, size: object = None) -> int:
        drawn.append((seed, (*rest, size)))
        return seed

    monkeypatch.setattr(module, "phantom", phantom)
    return drawn


def save(folder: Path, name: str) -> None:
    boxes = np.array([[1, 1, 9, 9]], np.float32)
    np.savez(folder / f"2DBox_CT_{name}.npz", imgs=np.zeros((10, 12, 3), np.uint8), boxes=boxes)


def test_golden_cases_are_one_of_each_modality_and_an_odd_one(seeds: list[tuple[int, tuple[object, ...]]]) -> None:
    golden_cases()
    assert [seed for seed, _ in seeds] == list(range(FIRST_GOLDEN_SEED, FIRST_GOLDEN_SEED + len(MODALITIES) + 1))
    assert [rest[0] for _, rest in seeds[:-1]] == list(MODALITIES)
    assert seeds[-1][1][1] == ODD_SIZE
    assert ODD_SIZE[0] != ODD_SIZE[1]


def test_phantoms_are_counted_from_seed_zero(seeds: list[tuple[int, tuple[object, ...]]]) -> None:
    assert phantom_cases(3) == (0, 1, 2)
    assert phantom_cases(0) == ()


def test_a_folders_cases_come_before_phantoms(tmp_path: Path) -> None:
    save(tmp_path, "b")
    save(tmp_path, "a")
    found = cases_for(tmp_path, None, 1)
    assert [case.id for case in found[:2]] == ["2DBox_CT_a", "2DBox_CT_b"]
    assert len(found) == 3


def test_nothing_is_added_unasked() -> None:
    assert cases_for(None, None, 0) == ()


def test_a_split_of_no_folder_is_refused() -> None:
    with pytest.raises(UsageError, match="add --cases"):
        cases_for(None, "test", 3)


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError):
        cases_for(tmp_path, None, 0)
    with pytest.raises(StorageError):
        cases_for(tmp_path / "none", None, 0)
