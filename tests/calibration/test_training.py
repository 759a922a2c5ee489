"""The training run, tiny: that it learns, that it can be killed at any step, and what it draws its samples from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.calibration.training import __main__ as command
from medsam_edge.calibration.training import loop, samples
from medsam_edge.calibration.training.finish import finish
from medsam_edge.calibration.training.loop import Plan, State, fresh_state, rate, train, train_step
from medsam_edge.calibration.training.objective import iou_loss, mask_loss, neighbourhood
from medsam_edge.calibration.training.samples import Samples, SampleSpec, augmented, coverage, flipped, jittered
from medsam_edge.export.architecture import model_of
from medsam_edge.export.checkpoint import read_checkpoint
from medsam_edge.export.models.config import DEMO, SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.runtime.boxes import boxes_from_masks
from medsam_edge.runtime.types import Case

TINY = SamConfig(64, 8, 16, 2, 2, 32, 3, (1,), prompt_dim=32, decoder_mlp_dim=32)
PLAN = Plan(steps=4, batch=2, seed=5)
SPEC = SampleSpec(image_size=64, mask_size=32)
REAL = (phantom(3, "Dermoscopy", (120, 90)), phantom(4, "CT", (70, 70)))


def run(out: Path) -> State:
    return train(TINY, PLAN, REAL, out)


def equal(one: Sam, other: Sam) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module", autouse=True)
def saved_at_each_step_without_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY", 1)
        # A worker's SIGCHLD, handled on the small signal stack that other libraries in this process set up, kills it
        # on processors with AVX-512 and AMX.
        patch.setattr(loop, "WORKERS", 0)
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> State:
    return run(tmp_path_factory.mktemp("unbroken"))


def killed_after(steps: int) -> Callable[[State, dict[str, torch.Tensor]], float]:
    left = iter(range(steps))

    def step(state: State, batch: dict[str, torch.Tensor]) -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return train_step(state, batch)

    return step


def test_a_run_takes_its_steps_and_averages_its_weights(unbroken: State) -> None:
    assert unbroken.step == PLAN.steps
    assert unbroken.average.config == TINY
    assert not equal(unbroken.average, unbroken.model)


@pytest.mark.parametrize("steps", [0, 1, 2, 3], ids="after step {}".format)
def test_a_killed_run_continues_to_exactly_the_weights_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: State, steps: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", killed_after(steps))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    resumed = run(tmp_path)
    assert equal(resumed.model, unbroken.model)
    assert equal(resumed.average, unbroken.average)


def test_another_seed_gives_other_weights(tmp_path: Path, unbroken: State) -> None:
    assert not equal(train(TINY, replace(PLAN, seed=6), REAL, tmp_path).model, unbroken.model)


def test_a_finished_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path)
    monkeypatch.setattr(loop, "train_step", killed_after(0))
    assert equal(run(tmp_path).average, first.average)


def test_the_log_has_a_line_every_20_steps(tmp_path: Path) -> None:
    train(TINY, Plan(41, batch=1), (), tmp_path)
    lines = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert [step for step, _, _ in lines] == ["20", "40"]


def test_the_loss_falls_on_one_batch() -> None:
    torch.manual_seed(0)
    state, batch = fresh_state(TINY), torch.utils.data.default_collate([Samples(SPEC, ())[0]])
    for group in state.optimiser.param_groups:
        group["lr"] = 3e-3
    losses = [train_step(state, batch) for _ in range(24)]
    assert losses[-1] < 0.8 * losses[0]


def test_every_parameter_that_a_box_reaches_is_trained() -> None:
    torch.manual_seed(0)
    state, batch = fresh_state(TINY), torch.utils.data.default_collate([Samples(SPEC, ())[0]])
    train_step(state, batch)
    idle = {name for name, parameter in state.model.named_parameters() if parameter.grad is None}
    unused = (
        "point_embeddings.0",
        "point_embeddings.1",
        "not_a_point",
        "mask_downscaling",
        "mlps.1",
        "mlps.2",
        "mlps.3",
    )
    assert all(any(part in name for part in unused) for name in idle)


def test_the_rate_warms_up_stays_and_decays() -> None:
    plan = Plan(2000, peak_rate=1.0)
    assert [rate(plan, step) for step in (0, 99, 199)] == [0.005, 0.5, 1.0]
    assert {rate(plan, step) for step in range(200, 1500)} == {1.0}
    assert rate(plan, 1750) == pytest.approx(0.5)
    assert rate(plan, 1999) == pytest.approx(0.01)


def test_a_longer_plan_changes_nothing_before_the_decay() -> None:
    short, long = Plan(2000), Plan(4000)
    assert [rate(short, step) for step in range(1500)] == [rate(long, step) for step in range(1500)]


def test_the_finished_file_is_small_states_its_profile_and_can_be_exported(tmp_path: Path) -> None:
    model = Sam(DEMO)
    path = finish(model, tmp_path)
    assert path.stat().st_size <= 16 * 2**20
    source = read_checkpoint(path)
    assert source.profile == "medsam"
    back = model_of(source.tensors)
    assert back.config == DEMO
    assert torch.equal(back.image_encoder.neck[0].weight, model.image_encoder.neck[0].weight.half().float())


def test_a_sample_has_the_shapes_and_ranges_that_the_model_wants() -> None:
    sample = Samples(SPEC, REAL)[11]
    assert (sample["image"].shape, sample["image"].dtype) == ((3, 64, 64), torch.uint8)
    assert (sample["boxes"].shape, sample["boxes"].dtype) == ((4, 4), torch.float32)
    assert (sample["targets"].shape, sample["targets"].dtype) == ((4, 32, 32), torch.float32)
    assert 0 <= sample["targets"].min() < sample["targets"].max() <= 1
    assert 0 <= sample["boxes"].min() < sample["boxes"].max() <= 64


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_sample_is_a_function_of_its_index_and_the_seed(share: float) -> None:
    spec = replace(SPEC, real_share=share)
    first, again, other = Samples(spec, REAL), Samples(spec, REAL), Samples(spec, REAL, seed=1)
    assert same(first[2], again[2])
    assert not same(first[2], first[3])
    assert not same(first[2], other[2])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("change", [flipped, augmented])
def test_a_changed_case_keeps_masks_and_boxes_together(
    change: Callable[[Case, np.random.Generator], Case], seed: int
) -> None:
    case = change(REAL[seed % 2], np.random.default_rng(seed))
    assert case.masks is not None
    assert case.image.shape[:2] == case.masks.shape[1:]
    assert case.image.dtype == np.uint8
    np.testing.assert_array_equal(case.boxes, boxes_from_masks(case.masks))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("change", [flipped, augmented])
def test_image_and_mask_are_moved_alike(
    change: Callable[[Case, np.random.Generator], Case], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "rewindowed", lambda image, rng: image)
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 5:40, 10:30] = mask[0, 5:15, 30:70] = True  # an L: no turn or mirror image of itself
    painted = np.repeat(mask[0, :, :, None], 3, axis=2).astype(np.uint8) * 255
    moved = change(replace(REAL[0], image=painted, masks=mask), np.random.default_rng(seed))
    assert moved.masks is not None
    np.testing.assert_array_equal(moved.image[:, :, 0] > 0, moved.masks[0])


def test_jittered_boxes_stay_in_the_image_and_keep_an_area() -> None:
    boxes = np.array([[0, 0, 40, 30], [10, 10, 11, 11], [38, 28, 40, 30]], np.float32)
    for seed in range(50):
        moved = jittered(boxes, (30, 40), 0.5, np.random.default_rng(seed))
        assert moved.min() >= 0
        assert (moved[:, 2:] - moved[:, :2] > 0).all()
        assert (moved[:, [0, 2]] <= 40).all()
        assert (moved[:, [1, 3]] <= 30).all()


def test_coverage_is_the_covered_share_of_each_cell() -> None:
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :2, :3] = True
    np.testing.assert_allclose(coverage(mask, 2)[0], [[1, 0.5], [0, 0]], atol=0.01)


def test_the_mask_loss_prefers_the_truth() -> None:
    targets, boxes = torch.zeros(1, 8, 8), torch.tensor([[2.0, 2, 5, 5]]) / 8
    targets[:, 2:5, 2:5] = 1
    right, wrong, unsure = 20 * targets - 10, 10 - 20 * targets, torch.zeros_like(targets)
    losses = [mask_loss(logits, targets, boxes) for logits in (right, unsure, wrong)]
    assert losses[0] < 1e-2
    assert losses == sorted(losses)


def test_the_loss_looks_near_the_box_and_a_little_elsewhere() -> None:
    weights = neighbourhood(torch.tensor([[0.0, 0.5, 0.5, 1.0]]), 8)[0]
    assert weights[7, 0] == weights[3, 5] == 1  # inside, and within the margin of a quarter and a cell
    assert weights[0, 0] == weights[7, 7] == pytest.approx(0.02)


def test_the_iou_loss_is_zero_at_the_iou_of_the_drawn_mask() -> None:
    logits, targets = torch.full((1, 4, 4), -1.0), torch.zeros(1, 4, 4)
    logits[:, :2], targets[:, 1:3] = 1.0, 1.0  # 4 of 12 cells in common
    assert float(iou_loss(torch.tensor([[1 / 3]]), logits, targets)) == pytest.approx(0, abs=1e-12)
    assert iou_loss(torch.tensor([[0.9]]), logits, targets) > 0.1


def test_cases_that_a_box_cannot_prompt_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vessels = replace(REAL[0], modality="OCTA")
    asked: list[object] = []
    monkeypatch.setattr(command, "read_cases", lambda *words: asked.append(words) or [vessels, REAL[1]])
    assert command.usable(tmp_path) == (REAL[1],)
    assert asked == [(tmp_path, "calibration")]


def test_without_a_case_folder_phantoms_alone_are_drawn() -> None:
    assert command.usable(None) == ()
