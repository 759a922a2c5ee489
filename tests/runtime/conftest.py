"""Helpers that several files of this folder share: modules beside the tests, which are no package."""

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from medsam_edge.runtime.contract import decoder_part, encoder_part

Loose = Any  # a module beside the tests, or what it makes

SIDE, GRID = 32, 4


def _beside(name: str) -> ModuleType:
    if name not in sys.modules:
        spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def scenes() -> Loose:
    """The module `tensorrt_world`."""
    return _beside("tensorrt_world")


@pytest.fixture(scope="session")
def make_world(scenes: Loose) -> Callable[..., Any]:
    """Make a world with a fake GPU: `(integrated=False)`."""
    parts = {"encoder": encoder_part(SIDE, GRID), "decoder": decoder_part(GRID)}
    fakes = SimpleNamespace(**{**vars(_beside("fake_gpu")), **vars(_beside("fake_engine"))})
    return lambda integrated=False: scenes.World(fakes, parts, integrated)
