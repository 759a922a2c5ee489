"""Counts the operations of a model without running it: PyTorch's own counter, on tensors that have no values.

What is counted is the plain form of the network, whatever form of it a bundle ships: the work that was asked for, not
the work that a graph makes of it. Literature counts the same model in several ways; this is one, always the same.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from ..runtime.manifest import Model
from .latency import Operations

if TYPE_CHECKING:
    from ..export.models.config import Config
    from ..export.models.sam import Sam


def operations_of(model: Model) -> Operations | None:
    """Count multiply-accumulates of the encoder, and of the decoder for one box.

    Returns:
        None where PyTorch is not installed, or the manifest's sizes are of no network that is known here.
    """
    if not model.config or find_spec("torch") is None:
        return None
    import torch

    from ..export.models.sam import Sam

    config = _config(model)
    if config is None:
        return None
    try:
        with torch.device("meta"), torch.no_grad():
            return _counted(Sam(config).eval())
    except (TypeError, ValueError, RuntimeError):  # sizes that no network can have: measured all the same
        return None


def _counted(model: "Sam") -> Operations:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    config = model.config
    with FlopCounterMode(display=False) as encoder:
        model.image_encoder(torch.empty(1, 3, config.image_size, config.image_size))
    with FlopCounterMode(display=False) as decoder:
        model.decode(torch.empty(1, config.prompt_dim, config.grid, config.grid), torch.empty(1, 4))
    return Operations(encoder.get_total_flops() / 2e9, decoder.get_total_flops() / 2e9)


def _config(model: Model) -> "Config | None":
    from ..export.models.config import SamConfig, TinyVitConfig

    kinds: dict[str, type[SamConfig] | type[TinyVitConfig]] = {
        kind.architecture: kind for kind in (SamConfig, TinyVitConfig)
    }
    sizes = {name: tuple(value) if isinstance(value, list | tuple) else value for name, value in model.config.items()}
    try:
        return kinds[model.architecture](**cast("dict[str, Any]", sizes))
    except (KeyError, TypeError):  # written by a version that knows more
        return None
