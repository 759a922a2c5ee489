"""A tiny SAM with seeded random weights: every table filled, so that nothing can be left out unseen."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from medsam_edge.calibration.phantoms import phantom
from medsam_edge.export import pipeline
from medsam_edge.export.graphs import Graph
from medsam_edge.export.models.config import SamConfig
from medsam_edge.export.models.sam import Sam
from medsam_edge.export.pipeline import ExportResult, export_bundle
from medsam_edge.export.variants import TARGETS, export_graphs
from medsam_edge.runtime.profile import medsam
from medsam_edge.runtime.types import Case
from safetensors.torch import save_file
from torch import nn

# A grid of 8 with windows of 3: the last window of each row is partly padding. Block 1 attends globally.
TINY = SamConfig(64, 8, 32, 2, 2, 64, 3, (1,), prompt_dim=64, decoder_mlp_dim=32)


def _model(config: SamConfig) -> Sam:
    torch.manual_seed(7)
    model = Sam(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "pos_embed" in name or "rel_pos" in name:
            torch.nn.init.normal_(parameter, std=0.5)
        elif parameter.ndim == 1:  # biases and norms, which torch starts at values that hide mistakes
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.fixture(scope="session")
def tiny_config() -> SamConfig:
    return TINY


@pytest.fixture(scope="session")
def model_with() -> Callable[[SamConfig], Sam]:
    """Make a model of a configuration, filled as the tiny one."""
    return _model


@pytest.fixture(scope="session")
def oracle_of() -> Callable[[Sam], nn.Module]:
    """Transformers' `SamModel` of a model, by a key map that is not ours (sam_oracle.py)."""
    spec = spec_from_file_location("sam_oracle", Path(__file__).with_name("sam_oracle.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[Sam], nn.Module] = module.oracle_of
    return made


@pytest.fixture(scope="session")
def sam() -> Sam:
    """The tiny model; nobody may change it."""
    return _model(TINY)


@pytest.fixture
def tensors(sam: Sam) -> dict[str, torch.Tensor]:
    """The tiny model's weights, for the test to change."""
    return {name: tensor.clone() for name, tensor in sam.state_dict().items()}


@pytest.fixture(scope="session")
def image() -> torch.Tensor:
    """An encoder input that neither starts at 0 nor ends at 255."""
    return torch.randint(9, 230, (1, 3, 64, 64), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.fixture(scope="session")
def boxes() -> torch.Tensor:
    """17 boxes, one more than a call takes: fractional, tiny, whole-image."""
    corners = torch.rand(17, 2, 2, generator=torch.Generator().manual_seed(2)).sort(dim=1).values * 64
    boxes = corners.flatten(1)
    boxes[0], boxes[1] = torch.tensor([0.0, 0.0, 64.0, 64.0]), torch.tensor([10.0, 11.0, 10.5, 11.5])
    return boxes


@pytest.fixture(scope="session")
def plain_graphs(sam: Sam) -> tuple[Graph, Graph]:
    """Encoder and decoder of the tiny model as its modules are, without a form of any target."""
    encoder, decoder = export_graphs(sam, medsam(64), form="plain")
    return encoder, decoder


@pytest.fixture(scope="session")
def encoder_graph(plain_graphs: tuple[Graph, Graph]) -> Graph:
    return plain_graphs[0]


@pytest.fixture(scope="session")
def decoder_graph(plain_graphs: tuple[Graph, Graph]) -> Graph:
    return plain_graphs[1]


@pytest.fixture(scope="session")
def small_graphs(sam: Sam) -> tuple[Graph, ...]:
    """Every graph of the tiny model, for all targets."""
    return export_graphs(sam, medsam(64), tuple(TARGETS))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, sam: Sam) -> Path:
    """The tiny weights in a file that states its profile."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_file(sam.state_dict(), path, metadata={"profile": "medsam"})
    return path


@pytest.fixture(scope="session")
def phantom_cases() -> tuple[Case, ...]:
    """Three phantoms; the last is not square."""
    return phantom(0, "CT", (96, 96)), phantom(1, "Dermoscopy", (96, 96)), phantom(2, "MR", (80, 120))


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch, plain_graphs: tuple[Graph, Graph]) -> Callable[..., ExportResult]:
    """`export_bundle` with graphs that are exported already: that takes seconds, and is tested by itself."""
    monkeypatch.setattr(pipeline, "export_graphs", lambda *_: plain_graphs)
    return export_bundle


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    plain_graphs: tuple[Graph, Graph],
    checkpoint: Path,
    phantom_cases: tuple[Case, ...],
) -> ExportResult:
    """A bundle of the tiny model, as `export` writes it; nobody may change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "export_graphs", lambda *_: plain_graphs)
        return export_bundle(checkpoint, tmp_path_factory.mktemp("exported") / "tiny.bundle", phantom_cases)
