"""Plants outlier channels in a ViT encoder whose function stays what it was.

Trained transformers have a few channels whose values are tens of times as large as all others, the same ones in every
block (Dettmers et al. 2022, arXiv 2208.07339, section 4); random weights have none, and look better in int8 than any
trained model. Here a norm's scale and bias are multiplied in some channels, and the rows of the weights that read it
divided: SmoothQuant (see `balance`) turned round. The values that attention mixes get channels of their own: it is
linear in them, so `attn.qkv` makes them larger and `attn.proj` divides. No balancing of norms reaches those.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime.errors import UsageError
from ..runtime.types import AnyArray
from .balance import norm_groups, rescale
from .graph_index import GraphIndex
from .layers import Layer, quantisable
from .qdq import drop_unread_constants

LARGEST_FACTOR = 1e4
"""Beyond, float32 itself would lose digits of what is divided again."""
QKV, PROJ, LAST = "attn.qkv", "attn.proj", "mlp.lin2"


@dataclass(frozen=True)
class Outliers:
    """What is planted.

    Attributes:
        factor: How many times as large a channel becomes; trained models have 20 to 60.
        channels: How many at each place. Behind norms they are the same ones everywhere, among values each block has
            its own.
        blocks: Numbers of the blocks that get them; none: all.
        seed: What the channels are drawn with.
    """

    factor: float = 40.0
    channels: int = 4
    blocks: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and 1 < self.factor <= LARGEST_FACTOR):
            raise UsageError(f"a factor above 1 and at most {LARGEST_FACTOR:g}", f"{self.factor}", "40 is a good start")
        if self.channels < 1:
            raise UsageError("at least one channel", str(self.channels), "4 is a good start")


def planted(model: onnx.ModelProto, outliers: Outliers) -> onnx.ModelProto:
    """Return the encoder with outlier channels before all linear layers of its blocks but `mlp.lin2`.

    In real arithmetic nothing else changes, and in float32 next to nothing. Names of layers and tensors stay. GELU
    is not linear, so the hidden values of the MLP get none.

    Args:
        model: A float ViT encoder; it is not changed.
        outliers: Which, where, how large.

    Raises:
        UsageError: It is no ViT encoder, or has fewer blocks or channels than are asked for.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    index, layers = GraphIndex(made), quantisable(made)
    blocks = _chosen(layers, outliers.blocks)
    draw = np.random.default_rng(outliers.seed)
    width = min(one.weight_shape[one.input_axis] for one in layers if one.name.endswith(QKV))
    if outliers.channels > width // 2:
        raise UsageError(f"at most half of {width} channels", str(outliers.channels), "plant fewer: outliers are few")
    shared = _factors(draw, width, outliers)
    for norm, readers in norm_groups(index, layers):
        if readers[0].block in blocks:
            rescale(made, index, norm, readers, 1 / shared)
    for block in blocks:
        _plant_values(made, index, {layer.name: layer for layer in layers}, block, _factors(draw, width, outliers))
    drop_unread_constants(made)
    return made


def block_outputs(model: onnx.ModelProto) -> dict[str, str]:
    """Return the tensor that each block of a ViT hands on, the sum after its MLP, by the block's name.

    They have these names in every graph that was made of this one, in int8 too.

    Raises:
        UsageError: It is no ViT encoder.
    """
    index, found = GraphIndex(model), {}
    for layer in quantisable(model):
        if layer.name == f"{layer.block}.{LAST}":
            total = index.only_reader(_biased(index, layer.output))
            if total is not None and total.op_type == "Add":
                found[layer.block] = str(total.output[0])
    if not found:
        raise _no_vit()
    return found


def _chosen(layers: Sequence[Layer], numbers: Collection[int]) -> list[str]:
    names = {layer.name for layer in layers}
    there = [name.removesuffix(f".{QKV}") for name in names if name.startswith("blocks.") and name.endswith(QKV)]
    blocks = sorted((name for name in there if f"{name}.{PROJ}" in names), key=lambda name: int(name.split(".")[1]))
    if not blocks:
        raise _no_vit()
    wanted = [f"blocks.{number}" for number in dict.fromkeys(numbers)] or blocks
    if unknown := [name for name in wanted if name not in blocks]:
        raise UsageError(f"blocks among {', '.join(blocks)}", ", ".join(unknown), "name other blocks")
    return wanted


def _no_vit() -> UsageError:
    return UsageError("an encoder with the blocks of SAM's ViT", "none", "take a bundle of a ViT, such as MedSAM's")


def _factors(draw: np.random.Generator, width: int, outliers: Outliers) -> AnyArray:
    factors: AnyArray = np.ones(width)
    factors[draw.choice(width, outliers.channels, replace=False)] = outliers.factor
    return factors


def _plant_values(
    model: onnx.ModelProto, index: GraphIndex, layers: dict[str, Layer], block: str, factors: AnyArray
) -> None:
    """Multiply the last third of what `attn.qkv` makes, and divide the rows of `attn.proj`."""
    qkv, proj = layers[f"{block}.{QKV}"], layers[f"{block}.{PROJ}"]
    width = len(factors)
    if (qkv.weight_shape[qkv.channel_axis], proj.weight_shape[proj.input_axis]) != (3 * width, width):
        raise _no_vit()
    thirds = np.concatenate([np.ones(2 * width), factors])
    _scale(model, index, qkv.weight, [index.makers[qkv.output]], np.expand_dims(thirds, qkv.input_axis))
    _scale(model, index, proj.weight, [index.makers[proj.output]], np.expand_dims(1 / factors, proj.channel_axis))
    readers: dict[str, list[onnx.NodeProto]] = {}
    for name, reader in _beside(index, qkv.output):
        readers.setdefault(name, []).append(reader)
    for name, those in readers.items():
        _scale(model, index, name, those, thirds)


def _beside(index: GraphIndex, product: str) -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yield the constants that join a product before it is cut into heads, and who reads them: bias and padding."""
    bias = _biased(index, product)
    if bias != product:
        yield from _constants(index, index.makers[bias])
    names = [bias]
    while names:
        for reader in index.readers.get(names.pop(), ()):
            if reader.op_type in ("Reshape", "Concat"):
                names.append(reader.output[0])
            if reader.op_type == "Concat":
                yield from _constants(index, reader)


def _constants(index: GraphIndex, node: onnx.NodeProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yield the constants that a node reads, directly or repeated by Expand."""
    for name in node.input:
        maker = index.makers.get(name)
        if name in index.constants:
            yield name, node
        elif maker is not None and maker.op_type == "Expand" and maker.input[0] in index.constants:
            yield maker.input[0], maker


def _biased(index: GraphIndex, product: str) -> str:
    """Return the product with its bias, where a node of its own adds it."""
    reader = index.only_reader(product)
    if reader is None or reader.op_type != "Add" or not any(name in index.constants for name in reader.input):
        return product
    return str(reader.output[0])


def _scale(
    model: onnx.ModelProto, index: GraphIndex, name: str, readers: Sequence[onnx.NodeProto], factors: AnyArray
) -> None:
    """Multiply a constant for some of its readers; for all of them it keeps its name, from which layers have theirs."""
    old, before = index.constants[name], index.array(name)
    made = numpy_helper.from_array((before * factors).astype(before.dtype), name)
    mine = {reader.output[0] for reader in readers}
    if {reader.output[0] for reader in index.readers[name]} <= mine:
        old.CopyFrom(made)
        return
    made.name = f"{name}/{min(mine)}"
    model.graph.initializer.append(made)
    for reader in readers:
        for place, one in enumerate(reader.input):
            if one == name:
                reader.input[place] = made.name
