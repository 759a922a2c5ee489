"""The same network in float16, with its norms in float32: what a typed graph for TensorRT is traced from.

Precision lives in the graph, because TensorRT 11 has no flag for it. Norms stay float32: a trained ViT's residual
stream holds values whose square float16 cannot hold (segment-anything issue 696). Inputs and outputs stay float32, and
so do the normalisation of the image and all arithmetic on box coordinates, which are outside.
"""

import copy

import torch
from torch import Tensor, nn


class Float32Norm(nn.Module):
    """A norm that computes in float32 between float16 neighbours."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise as the norm inside does."""
        out: Tensor = self.norm(x.float()).to(x.dtype)
        return out


class Half(nn.Module):
    """A module in float16 whose inputs and outputs are float32 tensors.

    Args:
        module: It is copied, not changed.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = halved(copy.deepcopy(module))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Cast, compute, cast back."""
        outputs = self.module(*(value.half() for value in inputs))
        if isinstance(outputs, torch.Tensor):
            return outputs.float()
        return tuple(value.float() for value in outputs)


def halved(module: nn.Module) -> nn.Module:
    """Turn everything below a module into float16, in place, but for its LayerNorms, which are wrapped untouched."""
    for one in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        one.data = one.data.half()
    for name, child in list(module.named_children()):
        if isinstance(child, nn.LayerNorm):
            setattr(module, name, Float32Norm(child))
        else:
            halved(child)
    return module
