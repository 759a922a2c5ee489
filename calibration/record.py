"""What an earlier run with the same inputs came to, so that a second one does nothing.

What was chosen lies in the bundle's own record. A refusal leaves the bundle as it was, so it lies in the journal beside
it, under the same key; who removes the journal judges and times anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from ..runtime.bundle import Bundle
from ..runtime.manifest import canonical
from ..runtime.schema import from_json, to_json
from .commit import committed, record_kind
from .outcome import Outcome
from .work import Entry, Journal

SCHEMA = "medsam-edge/record/calibration/2"


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
        data = self._in_bundle() or self._in_journal()
        if data is None:
            return None
        found = from_json(Outcome, data, "calibration")
        return replace(found, bundle=str(self.bundle.root), digest=self.bundle.manifest.digest, reused=True)

    def keep(self, outcome: Outcome, graph: tuple[bytes, str] | None) -> Outcome:
        """Commit what was chosen with its graph, if it has one; a refusal leaves the bundle as it was.

        Raises:
            BundleError: The bundle is another one than when it was opened.
            StorageError: The bundle or the journal cannot be written.
        """
        data = to_json(replace(outcome, bundle="", digest=""), "calibration")
        if outcome.chosen is None:
            self.journal.store(self._refusal, Entry(data))
            return outcome
        record = {"schema": SCHEMA, "key_sha256": self._hash, "key": dict(self.key), "outcome": data}
        manifest = committed(self.bundle, self.target, graph, record, judged=_judged(outcome))
        return replace(outcome, digest=manifest.digest)

    @property
    def _hash(self) -> str:
        return sha256(canonical(dict(self.key))).hexdigest()

    @property
    def _refusal(self) -> str:
        return f"refusal {SCHEMA} {self._hash}"

    def _in_bundle(self) -> object:
        if record_kind(self.target) not in {entry.name for entry in self.bundle.manifest.records}:
            return None
        record = self.bundle.record(record_kind(self.target))
        if record.get("schema") != SCHEMA or record.get("key_sha256") != self._hash:
            return None
        return record.get("outcome")

    def _in_journal(self) -> object:
        entry = self.journal.find(self._refusal)
        return None if entry is None else entry.value


def _judged(outcome: Outcome) -> tuple[str, ...]:
    """The backends on which the int8 graph's masks kept the limits, fast or not."""
    kept = (one for one in outcome.candidates if one.drop is not None and not one.drop.objections(outcome.limits))
    attention = {one.attention for one in outcome.candidates if one.chosen}  # the other graph is not in the bundle
    return tuple(one.backend for one in kept if ":int8" in one.backend and one.attention in attention)
