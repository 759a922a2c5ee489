"""A worker without a process, for tests of what is done with its answers, and a bundle of a small ViT."""

import functools
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from medsam_edge.benchmarks import bench
from medsam_edge.benchmarks.worker import serve
from medsam_edge.benchmarks.worker.messages import answer_line, read_answer, to_line
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
