"""Makes typed float16 graphs of one float32 encoder, with islands of float32 where blocks are named.

Islands from the start are the operators whose values float16 cannot hold, as the calibration cases show them: whole
blocks would take much else with them, their attention first, which TensorRT fuses in float16 only. Which blocks have to
join them the masks decide, by the same search as for int8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import onnx

from ..runtime.profile import Profile
from ..runtime.types import Progress
from .case_set import CaseSet
from .half import halved
from .int8_graphs import CHUNK, EncoderFeeds
from .islands import float32_nodes
from .layers import node_blocks, quantisable
from .peaks import peaks, too_large
from .work import Entry, Journal


@dataclass(frozen=True, eq=False)
class HalfGraphs:
    """Float16 forms of a float32 encoder.

    Attributes:
        model: The encoder, in any form; it is not changed.
        profile: What its images are prepared by.
        cases: What its values are watched on.
        journal: Where they are kept.
        progress: As `Trial.progress`.
        softmax: Whether every softmax stays float32.
    """

    model: onnx.ModelProto
    profile: Profile
    cases: CaseSet
    journal: Journal
    progress: Progress
    softmax: bool = False

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Every block that can be kept in float32, in the graph's order."""
        return tuple(dict.fromkeys(layer.block for layer in quantisable(self.model)))

    def graph(self, kept_float: frozenset[str] = frozenset()) -> bytes:
        """Return the ONNX file with all blocks in float16 but some.

        Raises:
            UsageError: Float16 cannot hold a constant of a block that is not kept; the message names it.
        """
        made = self.typed(self.model, kept_float)
        onnx.checker.check_model(made)
        data: bytes = made.SerializeToString(deterministic=True)
        return data

    def typed(self, model: onnx.ModelProto, kept_float: frozenset[str]) -> onnx.ModelProto:
        """Return `model`, which has the nodes of the encoder, in float16 but for these blocks and what is too large."""
        return halved(model, float32_nodes(model, kept_float, softmax=self.softmax, large=self.large))

    @property
    def large(self) -> tuple[str, ...]:
        """Tensors that stay float32 whatever is kept."""
        return tuple(name for name, peak in self.peaks.items() if too_large(peak))

    @property
    def block_peaks(self) -> dict[str, float]:
        """The largest magnitude in each block; "" is what comes before the first."""
        found: dict[str, float] = {}
        for node, block in zip(self.model.graph.node, node_blocks(self.model), strict=True):
            seen = (self.peaks[name] for name in node.output if name in self.peaks)
            found[block] = max(found.get(block, 0.0), *seen, 0.0)
        return found

    @cached_property
    def peaks(self) -> Mapping[str, float]:
        """The largest magnitude of each tensor that is computed, over the cases."""
        refs, found = self.cases.refs, dict[str, float]()
        for start in range(0, len(refs), CHUNK):
            self.progress("values of the float32 graph", start, len(refs))
            some = EncoderFeeds(self.profile, refs[start : start + CHUNK])
            name = sha256(" ".join(ref.pixel_sha256 for ref in some.refs).encode("ascii")).hexdigest()
            entry = self.journal.once(f"peaks {name}", lambda some=some: Entry(peaks(self.model, some)))  # type: ignore[misc]
            assert isinstance(entry.value, Mapping)
            found = {tensor: max(found.get(tensor, 0.0), float(peak)) for tensor, peak in entry.value.items()}
        return found
