"""The child that builds: reads an order from a file, writes lines of JSON, and dies alone if the library does.

    python -m medsam_edge.runtime.engines.worker ORDER.json

A line is `{"step": [phase, done, count]}`, then one of `{"built": facts}` and `{"error": [class, three parts]}`. The
library's own output goes to standard error, wherever it is printed.
"""

import json
import os
import sys
from pathlib import Path

from .. import errors
from ..errors import MedSAMEdgeError
from ..schema import from_json, to_json
from .builder import Order, build


def main(path: str) -> int:
    """Build what the order says."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints is no answer

    def tell(**line: object) -> None:
        print(json.dumps(line), file=answer, flush=True)

    try:
        order = from_json(Order, json.loads(Path(path).read_text(encoding="utf-8")), "order")
        tell(built=to_json(build(order, lambda name, done, count: tell(step=[name, done, count]))))
    except MedSAMEdgeError as error:
        tell(error=[type(error).__name__, error.expected, error.found, error.remedy])
    except MemoryError:
        tell(error=["DeviceMemoryError", "enough memory to build", "none left", "close other programs"])
    return 0


def error_from(parts: list[str]) -> MedSAMEdgeError:
    """Make the child's error the parent's."""
    kind = getattr(errors, parts[0], None)
    known = isinstance(kind, type) and issubclass(kind, MedSAMEdgeError)
    return (kind if known else MedSAMEdgeError)(*parts[1:4])  # type: ignore[misc]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
