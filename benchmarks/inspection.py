"""What `inspect --json` says: the bundle, what a state folder holds for it, and its calibration records whole."""

from collections.abc import Iterable

from ..calibration.document import Calibration
from ..runtime.bundle import Bundle
from ..runtime.schema import to_json
from ..runtime.stored import BundleState


def inspected(found: Bundle | BundleState, calibrations: Iterable[Calibration]) -> dict[str, object]:
    """Return it in JSON types; a record that cannot be read is there as it stands, with the reason."""
    kept = [{"kind": one.kind, "problem": one.problem, "record": one.document} for one in calibrations]
    return {**to_json(found, "inspect"), "calibration": kept}
