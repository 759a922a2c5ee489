from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from medsam_edge.benchmarks import verification
from medsam_edge.benchmarks.verification import verify
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, MissingExtraError, ParityError
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.parity import Check
from medsam_edge.runtime.predictor import Embedding, Prediction, Predictor
from medsam_edge.runtime.types import Case

Write = Callable[..., Path]
Goldens = tuple[Golden, ...]


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


def failed(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def half_filled(name: str = "half", masks: bool = True) -> Case:
    """A box of 20 x 20 pixels whose left half is the object: the filled box scores 2 * 200 / 600."""
    reference = np.zeros((1, 64, 64), bool)
    reference[0, 10:30, 10:20] = True
    boxes = np.array([[10, 10, 29, 29]], np.float32)
    image = np.full((64, 64, 3), 90, np.uint8)
    return Case(name, image, boxes, reference if masks else None, "OCT", name)


def test_a_bundle_that_draws_its_own_masks_passes(bundle: Bundle) -> None:
    report = verify(bundle, ["fake"])
    assert report.passed
    assert report.gating
    assert (report.bundle, report.digest) == (str(bundle.root), bundle.manifest.digest)
    (one,) = report.backends
    assert one.served_by.backend == "fake"
    assert [check.name for check in one.checks][:3] == ["tensor", "IoU estimates", "mask"]
    assert len(one.checks) == 7


def test_masks_are_grouped_by_modality_over_every_golden_box(bundle: Bundle) -> None:
    (one,) = verify(bundle, ["fake"]).backends
    assert [(group.modality, group.dsc.n) for group in one.masks] == [("CT", 3), ("MR", 2), ("all", 5)]
    assert {group.dsc.worst for group in one.masks} == {1.0}
    assert one.mask_cases == "2 golden cases"


def test_a_golden_mask_that_is_not_drawn_any_more_fails_in_its_modality(
    tmp_path: Path, write_bundle: Write, tiny_golden: Goldens
) -> None:
    masks = np.roll(tiny_golden[1].masks, 3, axis=2)
    path = write_bundle(tmp_path / "b", (tiny_golden[0], replace(tiny_golden[1], masks=masks)))
    report = verify(open_bundle(path), ["fake"])
    (one,) = report.backends
    assert not report.passed
    assert failed(one.checks) == ["mask"]
    assert {group.modality: group.dsc.worst > 0.99 for group in one.masks} == {"CT": True, "MR": False, "all": False}


def test_an_embedding_that_is_not_the_sources_fails(tmp_path: Path, write_bundle: Write, tiny_golden: Goldens) -> None:
    other = replace(tiny_golden[1], image_embedding=tiny_golden[1].image_embedding[:, ::-1])
    report = verify(open_bundle(write_bundle(tmp_path / "b", (tiny_golden[0], other))), ["fake"])
    assert failed(report.backends[0].checks) == ["tensor"]
    assert "(mr-three;" in report.backends[0].checks[0].detail


def test_random_weights_gate_nothing(tmp_path: Path, write_bundle: Write, tiny_golden: Goldens) -> None:
    report = verify(open_bundle(write_bundle(tmp_path / "b", tiny_golden, trained=False)), ["fake"])
    assert report.passed
    assert not report.gating


def test_one_backend_that_fails_fails_the_whole(
    bundle: Bundle, fake_predictor: Callable[..., Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(_: Bundle, name: str, **_options: bool) -> AbstractContextManager[Predictor]:
        predictor = fake_predictor()
        predictor._decoder.pixels_per_logit = 2.0 if name == "good" else 1.9  # type: ignore[attr-defined]
        return nullcontext(predictor)

    monkeypatch.setattr(verification, "load", loaded)
    report = verify(bundle, ["good", "bad"])
    assert [one.passed for one in report.backends] == [True, False]
    assert not report.passed


def test_the_task_layer_stands_beside_baselines_that_need_no_model(bundle: Bundle) -> None:
    (one,) = verify(bundle, ["fake"], [half_filled()]).backends
    found, everything = one.tasks
    assert (found.modality, everything.modality) == ("OCT", "all")
    assert found.box_fill.dsc.mean == pytest.approx(2 * 200 / 600)
    # The ellipse in a square of 20: 316 pixels of it are the disc of radius 10, half of them in the object.
    assert found.ellipse.dsc.mean == pytest.approx(2 * 158 / (316 + 200))
    assert found.model.dsc.mean == pytest.approx(found.ellipse.dsc.mean, abs=0.03)
    assert found.model.dsc.n == found.box_fill.dsc.n == found.ellipse.nsd.n == 1


def test_golden_cases_are_the_task_where_no_others_are_given(bundle: Bundle) -> None:
    (one,) = verify(bundle, ["fake"]).backends
    assert [(task.modality, task.model.dsc.n) for task in one.tasks] == [("CT", 3), ("MR", 2), ("all", 5)]
    # Their references are the boxes, filled; an ellipse covers pi / 4 of its box.
    assert one.tasks[-1].box_fill.dsc.mean == one.tasks[-1].box_fill.nsd.mean == 1
    assert one.tasks[-1].ellipse.dsc.mean == pytest.approx(2 * (np.pi / 4) / (1 + np.pi / 4), abs=0.01)


def test_without_any_reference_there_is_no_task_layer(
    tmp_path: Path, write_bundle: Write, tiny_golden: Goldens
) -> None:
    bare = [replace(case, reference=None) for case in tiny_golden]
    bundle = open_bundle(write_bundle(tmp_path / "b", bare))
    assert verify(bundle, ["fake"]).backends[0].tasks == ()
    assert verify(bundle, ["fake"], [half_filled(masks=False)]).backends[0].tasks == ()


def test_cases_without_the_source_do_not_enter_the_mask_layer(bundle: Bundle) -> None:
    (one,) = verify(bundle, ["fake"], [half_filled()]).backends
    assert one.masks[-1].dsc.n == 5
    assert one.mask_cases == "2 golden cases"


def test_the_source_answers_each_case_once_for_all_backends(bundle: Bundle, tiny_golden: Goldens) -> None:
    asked: list[str] = []
    planted = replace(tiny_golden[0], masks=~tiny_golden[0].masks, modality="planted")

    def answer(case: Case) -> Golden:
        asked.append(case.id)
        return replace(planted, image=planted.image.copy())

    report = verify(bundle, ["fake", "fake"], [half_filled("a"), half_filled("b")], answer)
    assert asked == ["ct-one", "mr-three", "a", "b"]
    for one in report.backends:
        assert "mask" in failed(one.checks)
        assert one.mask_cases == "4 cases answered by the source checkpoint"
        assert {group.modality: group.dsc.n for group in one.masks}["planted"] == 12


def test_golden_answers_that_are_not_the_sources_are_found_where_the_source_is_at_hand(
    tmp_path: Path, write_bundle: Write, tiny_golden: Goldens
) -> None:
    """Graphs and golden answers may both have been replaced: they agree with each other, not with the source."""
    bundle = open_bundle(write_bundle(tmp_path / "b", tiny_golden))
    truth = {case.id: replace(case, masks=np.roll(case.masks, 5, axis=2)) for case in tiny_golden}
    assert verify(bundle, ["fake"]).passed
    assert not verify(bundle, ["fake"], answer=lambda case: truth[case.id]).passed


LAYERS = ("tensor", "IoU estimates", "mask")


@pytest.mark.parametrize("call", [0, 3])
def test_a_backend_that_answers_with_nan_fails_and_the_others_are_still_reported(
    bundle: Bundle, fake_predictor: Callable[..., Predictor], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """NaN at the first golden case, or only when self-consistency asks again."""

    def loaded(_: Bundle, name: str, **_options: bool) -> AbstractContextManager[Predictor]:
        predictor, calls = fake_predictor(), count()
        predict = predictor.predict

        def spoiled(embedding: Embedding, boxes: npt.ArrayLike) -> Prediction:
            if name == "bad" and next(calls) >= call:
                raise ParityError("finite logits", "7 that are NaN", "use another")
            return predict(embedding, boxes)

        monkeypatch.setattr(predictor, "predict", spoiled)
        return nullcontext(predictor)

    monkeypatch.setattr(verification, "load", loaded)
    bad, good = verify(bundle, ["bad", "good"]).backends
    assert good.passed
    assert failed(bad.checks) == ["usable answers"]
    assert bad.checks[-1].detail == "7 that are NaN"
    assert [check.name for check in bad.checks[:-1]] == ([*LAYERS, "finite, not constant"] if call else [])


def test_progress_is_told_every_case(bundle: Bundle) -> None:
    told: list[tuple[str, int, int]] = []
    verify(bundle, ["fake", "fake"], [half_filled()], progress=lambda *each: told.append(each))
    assert told == [("ct-one", 0, 3), ("mr-three", 1, 3), ("half", 2, 3)]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_golden_cases_prove_nothing(
    tmp_path: Path, write_bundle: Write, tiny_golden: Goldens, count: int
) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "b", tiny_golden[:count]))
    with pytest.raises(BundleError, match=f"at least two golden cases; found {count}"):
        verify(bundle, ["fake"])


def test_the_source_needs_the_export_extra(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_edge.runtime.doctor.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"medsam-edge\[export\]"):
        verification.source_answer("demo", bundle.manifest)
