"""How every process of ours is started, and the error where the system starts none. It does not know what they do."""

import os
from collections.abc import Mapping, Sequence

from .errors import MachineError


def environment(added: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process of ours: this one's, and what is added."""
    # A file called json.py in the folder where a person stands is not meant for us.
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8", **added}


def not_started(who: str, command: Sequence[str], error: OSError) -> MachineError:
    """Return the error for a process that the system did not start."""
    found = f"{error.strerror} for {command[0]}"
    return MachineError(f"a process for {who}", found, "free some memory, then run it again")
