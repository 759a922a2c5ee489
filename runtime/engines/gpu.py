"""Which GPU is here, asked in a process of its own: a library without a driver may end the process that calls it.

    python -m medsam_edge.runtime.engines.gpu

prints the answer as one line of JSON, or fails; `probe` runs that and never does.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

from ..errors import DriverError, MedSAMEdgeError
from ..schema import from_json
from .driver import CudaError, describe, load

COMMAND = (sys.executable, "-m", "medsam_edge.runtime.engines.gpu")
_TIMEOUT_S = 60
_EXPECTED = "an NVIDIA driver with a GPU"
_REMEDY = "install the driver or its container toolkit, check `nvidia-smi`, or name another --backend"


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine.

    Attributes:
        name: As the driver calls it.
        capability: Compute capability, "8.7".
        memory_bytes: All of its memory; on an integrated GPU that of the machine.
        integrated: Whether it shares memory with the processor, as on a Jetson.
        driver: The newest CUDA version that the driver speaks.
    """

    name: str
    capability: str
    memory_bytes: int
    integrated: bool
    driver: str


@cache
def gpu() -> Gpu:
    """Return this machine's GPU, asked once in the life of a process.

    Raises:
        DriverError: There is no driver, no GPU, or the driver does not answer.
    """
    return probe()


def probe(command: Sequence[str] = COMMAND) -> Gpu:
    """Ask for the GPU in a child process.

    Args:
        command: The program that answers.

    Raises:
        DriverError: As `gpu`; also where the child died.
    """
    try:
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise DriverError(_EXPECTED, f"no answer within {_TIMEOUT_S} s", _REMEDY) from error
    except OSError as error:
        raise DriverError(_EXPECTED, f"no process to ask for it: {error.strerror}", "free some memory") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"a process that ended with {done.returncode}"]
        raise DriverError(_EXPECTED, words[-1][:300], _REMEDY)
    try:
        return from_json(Gpu, json.loads(done.stdout.splitlines()[-1]), "gpu")
    except (ValueError, IndexError, MedSAMEdgeError) as error:
        raise DriverError(_EXPECTED, f"an answer that is none: {done.stdout[-80:]!r}", _REMEDY) from error


def main() -> int:
    """Print the GPU as JSON; return 1 with a sentence on standard error where there is none."""
    try:
        found = Gpu(**describe(load()))  # type: ignore[arg-type] # the driver's numbers
    except OSError:
        print("no driver: libcuda.so.1 is not here", file=sys.stderr)
        return 1
    except CudaError as error:
        print(str(error), file=sys.stderr)
        return 1
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
