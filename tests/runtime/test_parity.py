from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.backends.base import HostTensor, Tensor
from medsam_edge.runtime.backends.fake import FakeBackend
from medsam_edge.runtime.errors import BundleError, ParityError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.parity import (
    Check,
    Limits,
    MaskRow,
    TensorRow,
    answer,
    compare_masks,
    compare_tensors,
    groups,
    iou_check,
    mask_check,
    require,
    self_consistency,
    tensor_check,
)
from medsam_edge.runtime.predictor import Predictor
from medsam_edge.runtime.types import AnyArray, Case

Make = Callable[..., Predictor]
Open = Callable[[str], FakeBackend]
Change = Callable[[AnyArray], AnyArray]
Goldens = tuple[Golden, ...]
IOU = np.full((3, 1), 0.8, np.float32)  # what the fake backend estimates
FINITE, BATCH, AGAIN, DISTINCT = (
    "finite, not constant",
    "3 boxes at once = one by one",
    "second run = first run",
    "two images, two embeddings",
)


class Broken:
    """The fake backend with its answer spoiled."""

    def __init__(self, inner: FakeBackend, output: str, change: Change) -> None:
        self.inner, self.output, self.change = inner, output, change

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the fake has
        return getattr(self.inner, name)

    def run(self, tensors: Mapping[str, Tensor], keep_on_device: Collection[str] = ()) -> dict[str, Tensor]:
        found = self.inner.run(tensors)
        return found | {self.output: HostTensor(self.change(found[self.output].numpy().copy()))}


@pytest.fixture
def failing(fake_predictor: Make, fake_backend: Open, tiny_cases: tuple[Case, ...]) -> Callable[..., list[str]]:
    """Names of the self-consistency checks that fail when an encoder or decoder is spoiled."""

    def run(encoder: Change | None = None, decoder: Change | None = None) -> list[str]:
        parts = (
            Broken(fake_backend("encoder"), "image_embedding", encoder) if encoder else None,
            Broken(fake_backend("decoder"), "low_res_logits", decoder) if decoder else None,
        )
        predictor = fake_predictor(*parts)
        answered = [answer(predictor, case.image, case.boxes) for case in tiny_cases]
        checks = list(self_consistency(predictor, answered, Limits()))
        assert [check.name for check in checks] == [FINITE, BATCH, AGAIN, DISTINCT]
        return [check.name for check in checks if not check.passed]

    return run


def with_nan(embedding: AnyArray) -> AnyArray:
    embedding[0, 17, 2, 3] = np.nan
    return embedding


def test_a_sound_model_passes_every_check(failing: Callable[..., list[str]]) -> None:
    assert failing() == []


def test_nan_in_an_embedding_is_found_even_where_the_masks_look_right(failing: Callable[..., list[str]]) -> None:
    clean = lambda logits: np.nan_to_num(logits, nan=-1.0)  # noqa: E731
    assert FINITE in failing(with_nan, clean)


def test_nan_that_reaches_the_logits_is_an_error_at_once(failing: Callable[..., list[str]]) -> None:
    with pytest.raises(ParityError, match="finite logits"):
        failing(with_nan)


def test_a_constant_embedding_is_found(failing: Callable[..., list[str]]) -> None:
    assert failing(lambda embedding: np.full_like(embedding, 0.5)) == [FINITE, DISTINCT]


def test_one_embedding_for_every_image_is_found(failing: Callable[..., list[str]]) -> None:
    always = np.random.default_rng(1).normal(size=(1, 256, 8, 8)).astype(np.float32)
    assert failing(lambda _: always) == [DISTINCT]


def test_masks_that_depend_on_the_other_boxes_are_found(failing: Callable[..., list[str]]) -> None:
    assert failing(decoder=lambda logits: logits - 2 * (len(logits) > 1)) == [BATCH]


def test_boxes_that_change_places_are_found(failing: Callable[..., list[str]]) -> None:
    assert failing(decoder=lambda logits: logits[::-1]) == [BATCH]


def test_masks_that_change_from_run_to_run_are_found(failing: Callable[..., list[str]]) -> None:
    calls = count()
    # Two cases, three boxes alone, then the second run.
    assert failing(decoder=lambda logits: logits - 2 * (next(calls) >= 5)) == [AGAIN]


@pytest.mark.parametrize("case", [0, 1])
def test_one_constant_mask_in_one_case_is_found(failing: Callable[..., list[str]], case: int) -> None:
    calls = count()

    def flat(logits: AnyArray) -> AnyArray:
        if next(calls) == case:
            logits[-1] = 3.0
        return logits

    assert FINITE in failing(decoder=flat)


def test_a_golden_embedding_of_another_shape_is_a_damaged_bundle(tiny_golden: Goldens) -> None:
    with pytest.raises(BundleError, match="export the bundle again"):
        compare_tensors(tiny_golden[0], np.zeros((1, 256, 4, 4), np.float32), IOU)


def test_the_case_with_the_most_boxes_is_the_one_that_is_run_one_by_one(
    fake_predictor: Make, tiny_cases: tuple[Case, ...]
) -> None:
    predictor = fake_predictor()
    answered = [answer(predictor, case.image, case.boxes) for case in reversed(tiny_cases)]
    assert BATCH in [check.name for check in self_consistency(predictor, answered, Limits())]


def test_equal_tensors_have_cosine_one_and_no_error(tiny_golden: Goldens) -> None:
    row = compare_tensors(tiny_golden[0], tiny_golden[0].image_embedding, tiny_golden[0].iou_predictions + 0.02)
    assert (row.id, row.modality) == ("ct-one", "CT")
    assert row.cosine == pytest.approx(1)
    assert row.max_abs_error == 0
    assert row.max_abs_value == float(tiny_golden[0].image_embedding.max())
    assert row.max_iou_error == pytest.approx(0.02)
    assert not iou_check([row], Limits()).passed
    assert iou_check([replace(row, max_iou_error=0.01)], Limits()).passed


def test_cosine_and_error_are_those_of_the_definition(tiny_golden: Goldens) -> None:
    theirs = np.zeros((1, 256, 8, 8), np.float32)
    theirs[0, 0, 0, :2] = 3, 4
    ours = np.zeros_like(theirs)
    ours[0, 0, 0, :2] = 4, 3
    row = compare_tensors(replace(tiny_golden[0], image_embedding=theirs), ours, IOU)
    assert (row.cosine, row.max_abs_error, row.max_abs_value) == pytest.approx((24 / 25, 1, 4))


def test_two_tensors_of_zeros_agree_and_zeros_agree_with_nothing_else(tiny_golden: Goldens) -> None:
    zeros = np.zeros((1, 256, 8, 8), np.float32)
    assert compare_tensors(replace(tiny_golden[0], image_embedding=zeros), zeros, IOU).cosine == 1
    assert compare_tensors(tiny_golden[0], zeros, IOU).cosine == 0


def tensor_rows(*cosines: float) -> list[TensorRow]:
    return [TensorRow(f"case-{index}", "CT", cosine, 1 - cosine, 1, 0.0) for index, cosine in enumerate(cosines)]


@pytest.mark.parametrize("cosine", [0.9998, -1, float("nan")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_worst_tensor_is_named_wherever_it_stands(cosine: float, place: int) -> None:
    cosines = [1.0, 1.0, 1.0]
    cosines[place] = cosine
    check = tensor_check(tensor_rows(*cosines), Limits())
    assert not check.passed
    assert f"(case-{place};" in check.detail


def test_a_tensor_at_the_limit_passes() -> None:
    assert tensor_check(tensor_rows(1, 0.9999), Limits()) == Check(
        "tensor", True, "lowest cosine 0.999900 (case-1; limit 0.9999), largest error 1.00e-04"
    )


def mask_rows(*values: float, modality: str = "CT") -> list[MaskRow]:
    return [MaskRow(f"{modality}-{index}", modality, index, value, value) for index, value in enumerate(values)]


def test_a_loss_in_one_mask_fails_though_the_mean_hides_it() -> None:
    check = mask_check(mask_rows(*[1.0] * 1000, 0.98), Limits())
    assert not check.passed
    assert check.detail == "DSC mean 0.99998 (limit 0.999), worst 0.98000 (CT-1000, box 1001; limit 0.99), n 1001"


def test_a_small_loss_in_every_mask_fails_though_the_worst_passes() -> None:
    check = mask_check(mask_rows(*[0.998] * 10), Limits())
    assert not check.passed
    assert "mean 0.99800" in check.detail


def test_masks_at_both_limits_pass() -> None:
    assert mask_check(mask_rows(0.99, *[1.0] * 9), Limits()).passed


def test_every_mask_gets_a_row_with_its_place() -> None:
    ours, theirs = np.zeros((2, 20, 20), bool), np.zeros((2, 20, 20), bool)
    ours[:, 5:10, 5:15] = theirs[0, 5:10, 5:15] = True
    theirs[1, 5:10, 10:15] = True
    rows = compare_masks("a", "MR", ours, theirs)
    assert [(row.id, row.modality, row.index) for row in rows] == [("a", "MR", 0), ("a", "MR", 1)]
    assert [row.dsc for row in rows] == pytest.approx([1, 2 / 3])
    assert rows[0].nsd == 1 > rows[1].nsd > 0


def test_a_loss_in_one_modality_shows_in_its_group_and_in_all() -> None:
    rows = [*mask_rows(1, 1, modality="MR"), *mask_rows(1, 0.5, modality="CT"), *mask_rows(1, modality="X-ray")]
    found = groups(iter(rows))
    assert [(group.modality, group.dsc.n) for group in found] == [("CT", 2), ("MR", 2), ("X-ray", 1), ("all", 5)]
    assert [group.dsc.worst for group in found] == [0.5, 1, 1, 0.5]
    assert [group.dsc.mean for group in found] == pytest.approx([0.75, 1, 1, 0.9])
    assert [group.nsd.worst for group in found] == [0.5, 1, 1, 0.5]


def test_passed_checks_let_one_through_and_failed_ones_are_all_named() -> None:
    good, bad, worse = Check("a", True, "1"), Check("b", False, "low"), Check("c", False, "lower")
    require([good], "it")
    with pytest.raises(ParityError, match="expected it to draw the source's masks; found b: low; c: lower"):
        require([good, bad, worse], "it")
