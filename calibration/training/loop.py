"""The training loop: AdamW at a constant rate with warm-up and a final decay, and an averaged copy of the weights.

State is saved as it goes: a killed run continues from its last save and sees the samples that an unbroken one would.
Until the decay begins nothing depends on the number of steps, so a run can also be lengthened or brought to its end.
"""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...export.models.config import SamConfig
from ...export.models.sam import Sam
from ...runtime.types import Case
from .objective import affinity_loss, iou_loss, mask_loss
from .samples import Samples, SampleSpec

WARM_UP, DECAY_SHARE, HORIZON = 200, 0.25, 500
LOG_EVERY, SAVE_EVERY = 20, 200
WORKERS = 1  # processes that draw samples


@dataclass(frozen=True)
class Plan:
    """How long, how fast, how many images a step, from which seed, on which of torch's devices."""

    steps: int
    peak_rate: float = 1e-3
    batch: int = 4
    seed: int = 0
    device: str = "cpu"


@dataclass
class State:
    """What a save holds: enough to continue as if nothing had happened."""

    model: Sam
    average: Sam
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def fresh_state(config: SamConfig, device: str = "cpu") -> State:
    """Draw a model: torch's own initialisation, and small random position tables, which torch leaves at zero."""
    model = Sam(config)
    for name, parameter in model.named_parameters():
        if "pos_embed" in name or "rel_pos" in name:
            nn.init.trunc_normal_(parameter, std=0.02)
    model.to(device)  # after the drawing, so that a seed gives the same weights everywhere
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.02, betas=(0.9, 0.98), fused=True)
    return State(model, copy.deepcopy(model).requires_grad_(False), optimiser)


def rate(plan: Plan, step: int) -> float:
    """Return the learning rate: linear up over 200 steps, constant, linear down to 1 % over the last quarter."""
    left = (plan.steps - step) / (plan.steps * DECAY_SHARE)
    return plan.peak_rate * min(1.0, (step + 1) / WARM_UP, max(left, 0.01))


def train_step(state: State, samples: dict[str, Tensor]) -> float:
    """Take one optimiser step on a batch and fold the result into the average; return the mask loss."""
    device = next(state.model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in samples.items()}
    boxes, targets = batch["boxes"].flatten(0, 1), batch["targets"].flatten(0, 1)
    each, model = batch["boxes"].shape[1], state.model
    embedding = model.encode(batch["image"])
    logits, iou = model.decode(embedding.repeat_interleave(each, dim=0), boxes)
    features = model.mask_decoder.output_upscaling(embedding).repeat_interleave(each, dim=0)
    shares = boxes / model.config.image_size
    loss = mask_loss(logits[:, 0], targets, shares)
    helped = loss + 0.1 * iou_loss(iou, logits[:, 0], targets) + 0.5 * affinity_loss(features, targets, shares)
    state.optimiser.zero_grad(set_to_none=True)
    helped.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimiser.step()
    fold(state)
    return float(loss.detach())


def fold(state: State) -> None:
    """Move the averaged weights towards the current ones; the horizon grows with the run and ends at 500 steps."""
    keep = min(1 - 1 / HORIZON, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for mean, now in zip(state.average.parameters(), state.model.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)


def batches(config: SamConfig, plan: Plan, start: int, cases: Sequence[Case]) -> Iterator[dict[str, Tensor]]:
    """Yield the batches from step `start` on, drawn ahead in a worker process."""
    samples = Samples(SampleSpec(config.image_size, 4 * config.grid), cases, plan.seed)
    indices = range(start * plan.batch, plan.steps * plan.batch)
    ahead = 8 if WORKERS else None
    yield from DataLoader(samples, batch_size=plan.batch, sampler=indices, num_workers=WORKERS, prefetch_factor=ahead)


def save(state: State, path: Path) -> None:
    """Write the state whole or not at all."""
    parts = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
    }
    partial = path.with_suffix(".partial")
    torch.save(parts, partial)
    partial.replace(path)


def resume(config: SamConfig, path: Path, device: str = "cpu") -> State:
    """Load a saved state, or start anew where nothing was saved."""
    state = fresh_state(config, device)
    if path.exists():
        parts = torch.load(path, weights_only=True, map_location=device)
        state.model.load_state_dict(parts["model"])
        state.average.load_state_dict(parts["average"])
        state.optimiser.load_state_dict(parts["optimiser"])
        state.step, state.seconds = parts["step"], parts["seconds"]
    return state


def train(config: SamConfig, plan: Plan, cases: Sequence[Case], out: Path) -> State:
    """Run what is left of the plan; progress goes to `out/log.csv`, state to `out/state.pt`."""
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    state = resume(config, out / "state.pt", plan.device)
    clock, losses = time.perf_counter(), []
    for batch in batches(config, plan, state.step, cases):
        for group in state.optimiser.param_groups:
            group["lr"] = rate(plan, state.step)
        losses.append(train_step(state, batch))
        state.step += 1
        now = time.perf_counter()
        state.seconds, clock = state.seconds + now - clock, now
        if state.step % LOG_EVERY == 0:
            log(out / "log.csv", state, losses)
            losses.clear()
        if state.step % SAVE_EVERY == 0:
            save(state, out / "state.pt")
    save(state, out / "state.pt")
    return state


def log(path: Path, state: State, losses: Sequence[float]) -> None:
    """Append step, seconds and mean loss."""
    with path.open("a") as file:
        file.write(f"{state.step},{state.seconds:.0f},{sum(losses) / len(losses):.4f}\n")
