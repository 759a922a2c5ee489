"""What an earlier run with the same inputs came to, so that a second one does nothing.

What was chosen lies in the bundle's own record. A refusal leaves the bundle as it was, so it lies in the journal beside
it, under the same key; who removes the journal judges and times anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..runtime.bundle import Bundle
from ..runtime.schema import from_json, to_json
from .commit import committed
from .document import SCHEMA, earlier, key_hash, new_document
from .outcome import Outcome
from .work import Entry, Journal


@dataclass(frozen=True, eq=False)
class Record:
    """One question to `quantize` and where its answer is kept.

    Attributes:
        bundle: The opened bundle.
        target: The backend that is asked about.
        key: Everything that the answer depends on, in JSON types.
        journal: Where a refusal is kept.
    """

    bundle: Bundle
    target: str
    key: Mapping[str, object]
    journal: Journal

    def before(self) -> Outcome | None:
        """Return what was found before, or None."""
        if (found := earlier(self.bundle, self.target, self.key)) is not None:
            return found
        if (entry := self.journal.find(self._refusal)) is None:
            return None
        refused = from_json(Outcome, entry.value, "calibration")
        return replace(refused, bundle=str(self.bundle.root), digest=self.bundle.manifest.digest, reused=True)

    def keep(self, outcome: Outcome, graph: tuple[bytes, str] | None) -> Outcome:
        """Commit what was chosen with its graph, if it has one; a refusal leaves the bundle as it was.

        Raises:
            BundleError: The bundle is another one than when it was opened.
            StorageError: The bundle or the journal cannot be written.
        """
        if outcome.chosen is None:
            self.journal.store(self._refusal, Entry(to_json(replace(outcome, bundle="", digest=""), "calibration")))
            return outcome
        document = new_document(self.key, outcome)
        manifest = committed(self.bundle, self.target, graph, document, judged=_judged(outcome))
        return replace(outcome, digest=manifest.digest)

    @property
    def _refusal(self) -> str:
        return f"refusal {SCHEMA} {key_hash(self.key)}"


def _judged(outcome: Outcome) -> tuple[str, ...]:
    """The backends on which the int8 graph's masks kept the limits, fast or not."""
    kept = (one for one in outcome.candidates if one.drop is not None and not one.drop.objections(outcome.limits))
    attention = {one.attention for one in outcome.candidates if one.chosen}  # the other graph is not in the bundle
    return tuple(one.backend for one in kept if ":int8" in one.backend and one.attention in attention)
