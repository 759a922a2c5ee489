"""The training run, tiny: that it learns, that it can be killed at any step, and what it draws its samples from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.calibration.training import __main__ as command
from medsam_edge.calibration.training import loop, samples
from medsam_edge.calibration.training.finish import finish
from medsam_edge.calibration.training.loop import (
    Stage,
    State,
    fitted,
    fresh_state,
    interpolated,
    rate,
    train,
    train_step,
)
from medsam_edge.calibration.training.objective import iou_loss, mask_loss
from medsam_edge.calibration.training.samples import Samples, SampleSpec, augmented, coverage, flipped, jittered
from medsam_edge.export.architecture import model_of
from medsam_edge.export.checkpoint import read_checkpoint
from medsam_edge.export.models.config import DEMO, SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.runtime.boxes import boxes_from_masks
from medsam_edge.runtime.types import Case

TINY = SamConfig(64, 8, 16, 2, 2, 32, 3, (1,), prompt_dim=32, decoder_mlp_dim=32)
STAGES = (Stage(32, 2, 1e-3, batch=2), Stage(64, 2, 1e-3, batch=2))
SPEC = SampleSpec(image_size=64, mask_size=32)
REAL = (phantom(3, "dermoscopy", (120, 90)), phantom(4, "CT", (70, 70)))


def run(out: Path) -> State:
    return train(TINY, STAGES, REAL, out, seed=5, save_every=1)


def equal(one: Sam, other: Sam) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


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


def test_a_run_ends_in_the_last_stage_at_full_size(unbroken: State) -> None:
    assert (unbroken.stage, unbroken.step) == (1, 2)
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
    assert not equal(train(TINY, STAGES, REAL, tmp_path, seed=6).model, unbroken.model)


def test_a_finished_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path)
    monkeypatch.setattr(loop, "train_step", killed_after(0))
    assert equal(run(tmp_path).average, first.average)


def test_the_log_has_a_line_every_20_steps(tmp_path: Path) -> None:
    train(TINY, [Stage(32, 41, 1e-3, batch=1)], (), tmp_path, seed=0)
    lines = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert [(stage, step) for stage, step, _, _ in lines] == [("0", "20"), ("0", "40")]


def test_the_loss_falls_on_one_batch() -> None:
    torch.manual_seed(0)
    state, batch = fresh_state(TINY, 0, None), torch.utils.data.default_collate([Samples(SPEC, ())[0]])
    for group in state.optimiser.param_groups:
        group["lr"] = 3e-3
    losses = [train_step(state, batch) for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_every_parameter_that_a_box_reaches_is_trained() -> None:
    torch.manual_seed(0)
    state, batch = fresh_state(TINY, 0, None), torch.utils.data.default_collate([Samples(SPEC, ())[0]])
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


def test_a_stage_starts_from_the_average_of_the_one_before() -> None:
    source = Sam(replace(TINY, image_size=32))
    state = fresh_state(TINY, 1, source)
    assert torch.equal(state.model.mask_decoder.iou_token.weight, source.mask_decoder.iou_token.weight)
    assert state.model.image_encoder.pos_embed.shape == (1, 8, 8, 16)
    assert equal(state.model, state.average)


def test_no_stage_sees_the_samples_of_another() -> None:
    first, second = (next(loop.batches(STAGES[0], number, 0, (), seed=0)) for number in (0, 1))
    assert not torch.equal(first["image"], second["image"])


def test_position_tables_take_the_shapes_of_the_other_grid() -> None:
    small, large = (Sam(replace(TINY, image_size=side)).state_dict() for side in (32, 64))
    shapes = {name: tensor.shape for name, tensor in interpolated(small, large).items()}
    assert shapes == {name: tensor.shape for name, tensor in large.items()}


def test_interpolation_is_linear_and_keeps_what_fits() -> None:
    table = torch.linspace(0, 1, 7)[:, None].expand(7, 2)
    assert fitted(table, torch.Size([7, 2])) is table
    longer = fitted(table, torch.Size([14, 2]))
    assert longer.shape == (14, 2)
    assert torch.all(longer[1:] >= longer[:-1])
    assert fitted(torch.ones(1, 4, 4, 3), torch.Size([1, 8, 8, 3])).eq(1).all()


def test_the_rate_warms_up_and_decays_to_two_per_cent() -> None:
    stage = Stage(64, 100, 1.0)
    rates = [rate(stage, step) for step in range(100)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


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
    targets = torch.zeros(1, 8, 8)
    targets[:, 2:5, 2:5] = 1
    right, wrong = (20 * targets - 10), (10 - 20 * targets)
    assert mask_loss(right, targets) < 1e-2 < mask_loss(torch.zeros_like(targets), targets) < mask_loss(wrong, targets)


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
