"""The training loop: two stages, AdamW with warm-up and cosine decay, an averaged copy of the weights.

The first stage runs at half the image size, where a step costs a quarter; the second continues at full size from
interpolated position tables. State is saved as it goes: a killed run continues from its last save.
"""

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...export.models.config import SamConfig
from ...export.models.sam import Sam
from ...runtime.types import Case
from .objective import iou_loss, mask_loss
from .samples import Samples, SampleSpec


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one image size."""

    image_size: int
    steps: int
    peak_rate: float
    batch: int = 4


@dataclass
class State:
    """What a save holds: enough to continue as if nothing had happened."""

    model: Sam
    average: Sam
    optimiser: torch.optim.Optimizer
    stage: int
    step: int
    seconds: float


def initialise(model: Sam) -> None:
    """Draw the parameters that torch leaves at zero; the rest keep torch's own initialisation."""
    for name, parameter in model.named_parameters():
        if "pos_embed" in name or "rel_pos" in name:
            nn.init.trunc_normal_(parameter, std=0.02)


def fresh_state(config: SamConfig, stage: int, source: Sam | None) -> State:
    """Start a stage, from the averaged weights of the stage before where there is one."""
    model = Sam(config)
    if source is None:
        initialise(model)
    else:
        model.load_state_dict(interpolated(source.state_dict(), model.state_dict()))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.02, betas=(0.9, 0.98))
    return State(model, copy.deepcopy(model).requires_grad_(False), optimiser, stage, 0, 0.0)


def interpolated(weights: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fit position tables to another grid, linearly, as SAM itself does for another image size."""
    return {name: fitted(tensor, like[name].shape) for name, tensor in weights.items()}


def fitted(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Return `tensor` unchanged or resampled: a grid `(1, G, G, C)` or a relative table `(R, D)`."""
    if tensor.shape == shape:
        return tensor
    if tensor.ndim == 2:
        return F.interpolate(tensor.T[None], size=shape[0], mode="linear")[0].T.contiguous()
    moved = tensor.permute(0, 3, 1, 2)
    return F.interpolate(moved, size=shape[1:3], mode="bilinear").permute(0, 2, 3, 1).contiguous()


def rate(stage: Stage, step: int) -> float:
    """Return the learning rate: a linear warm-up over 4 % of the stage, then half a cosine down to 2 %."""
    warm = max(1, stage.steps // 25)
    if step < warm:
        return stage.peak_rate * (step + 1) / warm
    progress = (step - warm) / max(1, stage.steps - warm)
    return stage.peak_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def train_step(state: State, batch: dict[str, Tensor]) -> float:
    """Take one optimiser step on a batch and fold the result into the average; return the loss."""
    boxes = batch["boxes"].flatten(0, 1)
    targets = batch["targets"].flatten(0, 1)
    embedding = state.model.encode(batch["image"])
    embedding = embedding.repeat_interleave(batch["boxes"].shape[1], dim=0)
    logits, iou = state.model.decode(embedding, boxes)
    loss = mask_loss(logits[:, 0], targets) + 0.2 * iou_loss(iou, logits[:, 0], targets)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimiser.step()
    fold(state)
    return float(loss.detach())


def fold(state: State) -> None:
    """Move the averaged weights towards the current ones; the horizon grows with the run and ends at 500 steps."""
    keep = min(1 - 1 / 500, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        pairs = zip(state.average.parameters(), state.model.parameters(), strict=True)
        for mean, now in pairs:
            mean.lerp_(now, 1 - keep)


def batches(stage: Stage, number: int, start: int, cases: Sequence[Case], seed: int) -> Iterator[dict[str, Tensor]]:
    """Yield the batches of a stage from step `start` on, drawn in one worker process."""
    side = stage.image_size
    samples = Samples(SampleSpec(side, side // 2), cases, seed)
    first = number * 10_000_000  # no stage sees another's samples
    indices = range(first + start * stage.batch, first + stage.steps * stage.batch)
    yield from DataLoader(samples, batch_size=stage.batch, sampler=indices, num_workers=1, prefetch_factor=8)


def save(state: State, path: Path) -> None:
    """Write the state whole or not at all."""
    parts = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "stage": state.stage,
        "step": state.step,
        "seconds": state.seconds,
    }
    partial = path.with_suffix(".partial")
    torch.save(parts, partial)
    partial.replace(path)


def resume(config: SamConfig, stages: Sequence[Stage], path: Path) -> State:
    """Load a saved state, or start the first stage where nothing was saved."""
    if not path.exists():
        return fresh_state(sized(config, stages[0]), 0, None)
    parts = torch.load(path, weights_only=True)
    state = fresh_state(sized(config, stages[parts["stage"]]), parts["stage"], None)
    state.model.load_state_dict(parts["model"])
    state.average.load_state_dict(parts["average"])
    state.optimiser.load_state_dict(parts["optimiser"])
    state.step, state.seconds = parts["step"], parts["seconds"]
    return state


def sized(config: SamConfig, stage: Stage) -> SamConfig:
    """Return the architecture at a stage's image size."""
    return dataclasses.replace(config, image_size=stage.image_size)


def train(
    config: SamConfig,
    stages: Sequence[Stage],
    cases: Sequence[Case],
    out: Path,
    seed: int,
    save_every: int = 200,
) -> State:
    """Run what is left of all stages; progress goes to `out/log.csv`, state to `out/state.pt`."""
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    state = resume(config, stages, out / "state.pt")
    while True:
        run_stage(state, stages[state.stage], cases, out, seed, save_every)
        if state.stage + 1 == len(stages):
            return state
        number, seconds = state.stage + 1, state.seconds
        state = fresh_state(sized(config, stages[number]), number, state.average)
        state.seconds = seconds
        save(state, out / "state.pt")


def run_stage(state: State, stage: Stage, cases: Sequence[Case], out: Path, seed: int, save_every: int) -> None:
    """Train to the end of one stage, saving every `save_every` steps."""
    clock, losses = time.perf_counter(), []
    for batch in batches(stage, state.stage, state.step, cases, seed):
        for group in state.optimiser.param_groups:
            group["lr"] = rate(stage, state.step)
        losses.append(train_step(state, batch))
        state.step += 1
        if state.step % 20 == 0:
            now = time.perf_counter()
            state.seconds, clock = state.seconds + now - clock, now
            with (out / "log.csv").open("a") as log:
                log.write(f"{state.stage},{state.step},{state.seconds:.0f},{sum(losses) / len(losses):.4f}\n")
            losses.clear()
        if state.step % save_every == 0:
            save(state, out / "state.pt")
    state.seconds += time.perf_counter() - clock
    save(state, out / "state.pt")
