from dataclasses import asdict, replace

import pytest
from medsam_edge.benchmarks import operations as module
from medsam_edge.benchmarks.operations import operations_of
from medsam_edge.runtime.manifest import Model

config = pytest.importorskip("medsam_edge.export.models.config")
pytest.importorskip("torch")


def model(name: str) -> Model:
    sizes = getattr(config, name)
    return Model("x", sizes.architecture, asdict(sizes), "", True, "", "")


@pytest.mark.parametrize(("name", "encoder", "decoder"), [("MEDSAM_VIT_B", 486.04, 1.81), ("LITE_MEDSAM", 37.47, 1.81)])
def test_the_counts_are_the_known_ones(name: str, encoder: float, decoder: float) -> None:
    found = operations_of(model(name))
    assert found is not None
    assert (found.encoder_gmac, found.decoder_gmac) == pytest.approx((encoder, decoder), abs=0.005)


@pytest.mark.parametrize("change", [{"architecture": "sam3"}, {"config": {}}, {"config": {"colour": 3}}])
def test_an_unknown_network_is_not_counted(change: dict[str, object]) -> None:
    assert operations_of(replace(model("DEMO"), **change)) is None  # type: ignore[arg-type]


def test_without_pytorch_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert operations_of(model("DEMO")) is None
