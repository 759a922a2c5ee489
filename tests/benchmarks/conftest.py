"""A worker without a process, outcomes of `quantize` to be shown, and a bundle of a small ViT."""

import functools
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from medsam_edge.benchmarks import bench
from medsam_edge.benchmarks.worker import serve
from medsam_edge.benchmarks.worker.messages import answer_line, read_answer, to_line
from medsam_edge.calibration.outcome import Candidate, LayerDecision, Outcome, RecipeRow
from medsam_edge.calibration.scores import Bounds, Drop, Group, Limits
from medsam_edge.calibration.search import Sensitivity, Tried
from medsam_edge.calibration.speed import Speed
from medsam_edge.runtime.golden import Golden

T = TypeVar("T")


class Here:
    """Answers as a worker does, in this process: the same lines, no pipe and no waiting."""

    asked: list[tuple[str, object]]

    def __init__(self, who: str, env: Mapping[str, str] | None = None) -> None:
        self.who = who
        self._lines: deque[str] = deque()
        self._answers = serve.answers(iter(self._lines.popleft, None))

    def ask(self, message: object, kind: type[T]) -> T:
        type(self).asked.append((self.who, message))
        self._lines.append(to_line(message))
        return read_answer(kind, answer_line(next(self._answers)), self.who)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """`bench` without processes; who was asked what, over all workers, in order."""
    Here.asked = []
    monkeypatch.setattr(serve, "quiet", lambda: True)
    monkeypatch.setattr(bench, "Child", Here)
    return Here.asked


def _drop(mean: float, bound: float, worst: float) -> Drop:
    groups = (
        Group("Dermoscopy", 123, 40, worst, 2 * worst, 0.98765, 2),
        Group("Ultrasound", 280, 7, mean, None, 0.99, 0),
    )
    return Drop(100, 403, 100, mean, 0.997, 0.987, 0.81, "c", 2, groups, Bounds(bound, 0.98, 0.01))


def _candidate(
    name: str,
    ms: float | None = None,
    mean: float = 0.0003,
    bound: float = 0.0007,
    worst: float = 0.0022,
    against: str = "openvino",
    **others: object,
) -> Candidate:
    speed = None if ms is None else Speed(ms, against, 100, 100 / ms, 0.9, 1.1, 9)
    fields = {"bytes": 95_000_000, "memory_bytes": 950_000_000, "recipe": "", "kept_float": (), "objections": ()}
    given = {**fields, "drop": _drop(mean, bound, worst), "median_ms": ms, "speed": speed, **others}
    return Candidate(f"openvino:CPU:{name}", **given)  # type: ignore[arg-type]


def _outcome(*candidates: Candidate, gating: bool = True) -> Outcome:
    """Of a run in which float32 took 100 ms."""
    taken = 100.0 if any(one.speed for one in candidates) else None
    base = Candidate("openvino", 375_000_000, 2_210_000_000, "", (), None, taken, None, ())
    return Outcome(
        bundle="/somewhere/vitb.bundle",
        digest="0" * 64,
        target="openvino",
        gating=gating,
        limits=Limits(),
        margin=1.1,
        warnings=("evaluation: one modality only, CT: nothing is known about others",),
        recipes=(RecipeRow("min-max, balanced", 0.99, 0.001), RecipeRow("entropy", None, None, "NaN")),
        sensitivities=(Sensitivity("blocks.0", 0.01234, 0.0123), Sensitivity("neck", 0.001, -0.0001)),
        tried=(Tried((), _drop(0.01, 0.02, 0.03), ("too much",)), Tried(("blocks.0",), _drop(0, 0, 0), ())),
        layers=(
            LayerDecision("blocks.0.attn.qkv", "blocks.0", None),
            LayerDecision("blocks.0.mlp.lin1", "blocks.0", None),
            LayerDecision("neck.0", "neck", 0.0312345),
            LayerDecision("patch_embed", "patch_embed", 1.0),
        ),
        candidates=(base, *candidates),
        notes=(),
        peak_mib=321.5,
        reused=False,
        chosen=next((one.backend for one in candidates if one.chosen), None),
    )


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    """`(name, ms=None, mean, bound, worst, against, **fields)`; without `ms` it was not timed."""
    return _candidate


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """`(*candidates, gating=True)`: float32, of 100 ms, and these."""
    return _outcome


@pytest.fixture
def usual() -> Outcome:
    """bf16 that does not pay, int8 that is kept, and a wider one that fails."""
    return _outcome(
        _candidate("bf16", 120, 0.0, 0.0001, 0.0002, objections=("0.83 times as fast as openvino (margin 1.1)",)),
        _candidate("int8", 50, chosen=True, recipe="min-max, balanced", kept_float=("blocks.0",)),
        _candidate("int8+bf16", None, 0.21, 0.27, 0.44, memory_bytes=None, objections=("it loses 0.44",)),
    )


@functools.cache
def vit_encoder() -> bytes:
    """A ViT of two blocks, of which the second attends globally, on the interface of the tiny bundles."""
    torch = pytest.importorskip("torch")
    from medsam_edge.export.attention_forms import written_out
    from medsam_edge.export.graphs import finished, trace_encoder
    from medsam_edge.export.models.config import SamConfig
    from medsam_edge.export.models.sam import Sam
    from medsam_edge.export.variants import formed_model
    from medsam_edge.runtime.profile import medsam

    torch.manual_seed(3)
    model = Sam(SamConfig(64, 8, 32, 2, 2, 64, 3, (1,), decoder_mlp_dim=32)).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # else the exporter would store equal constants of several layers once
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return finished(written_out(trace_encoder(formed_model(model, "encoder"), medsam(64)).model, "tiled"))


@pytest.fixture
def vit_bundle(
    tmp_path: Path,
    write_bundle: Callable[..., Path],
    tiny_golden: tuple[Golden, ...],
    other_graphs: dict[str, bytes],
) -> Path:
    """A bundle with the encoder of a small ViT, and a decoder that belongs to another."""
    graphs = {**other_graphs, "encoder": vit_encoder()}
    return write_bundle(tmp_path / "vit.bundle", tiny_golden, trained=False, graphs=graphs)
