"""Makes int8 graphs for TensorRT: symmetric Q/DQ around an encoder's layers, all else typed float16.

The ranges are those of the float32 graph, and the search is the one for every other target. What is not int8 runs in
float16, or in float32 on an island; attention's products, norms, softmax and the decoder are never int8.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from .half_graphs import HalfGraphs
from .int8_graphs import Int8Graphs, Recipe
from .qdq import quantised

LEAST_SCALE = float(np.finfo(np.float16).smallest_subnormal)
"""What float16 can tell from 0; only a tensor of zeros or of next to nothing has less."""


@dataclass(frozen=True, eq=False)
class TensorRtGraphs:
    """Int8 forms of a float32 encoder, typed.

    Attributes:
        int8: Which layers there are, and their ranges.
        half: The same encoder in float16.
        islands: Blocks that are float32 where they are not int8: those that float16 did not pass the limits without.
    """

    int8: Int8Graphs
    half: HalfGraphs
    islands: frozenset[str] = frozenset()

    @property
    def blocks(self) -> tuple[str, ...]:
        """Every block with layers that can run in int8, in the graph's order."""
        return self.int8.blocks

    def graph(self, recipe: Recipe, kept_float: frozenset[str] = frozenset()) -> bytes:
        """Return the ONNX file with all blocks in int8 but some, which are float16 or, on an island, float32.

        Raises:
            UsageError: Float16 cannot hold a constant of a block that is no island.
        """
        model, scales = self.int8.scaled(recipe, kept_float)
        held = {name: max(scale, LEAST_SCALE) for name, scale in scales.items()}
        made = quantised(self.half.typed(model, self.islands), held)
        onnx.checker.check_model(made)
        data: bytes = made.SerializeToString(deterministic=True)
        return data
