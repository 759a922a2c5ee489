"""The child process that opens a `.pth`: `python -m medsam_edge.export.unpickle SOURCE TARGET`.

A pickle is a program. torch refuses to run it (`weights_only=True`), and what remains of the risk, a parser fed with
hostile bytes, stays in a process that does nothing else and dies here. Out comes safetensors, which holds tensors and
nothing more. The answer is one line of JSON on standard output.
"""

import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

# Where trainers put the weights inside a larger file: {"model": …} (the authors' training), Lightning's "state_dict".
WRAPPERS = ("model", "state_dict")


def tensors_of(loaded: Any) -> dict[str, torch.Tensor] | None:  # noqa: ANN401 - a pickle holds anything
    """Return the state dict inside what was loaded, or None where there is none."""
    while isinstance(loaded, Mapping):
        inner = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, Mapping):
        return None
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    return tensors or None


def convert(source: Path, target: Path) -> dict[str, str]:
    """Read `source`, write its tensors to `target`, and say how it went: ok, code, damaged or no-tensors."""
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        return {"state": "code", "detail": first_sentence(error)}
    except Exception as error:  # damaged zip, short read, bad pickle: torch raises many classes
        return {"state": "damaged", "detail": f"{type(error).__name__}: {first_sentence(error)}"}
    tensors = tensors_of(loaded)
    if tensors is None:
        return {"state": "no-tensors", "detail": f"a {type(loaded).__name__}"}
    # Tensors that share storage are legal in a .pth and not in safetensors.
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, target)
    return {"state": "ok", "detail": ""}


def first_sentence(error: BaseException) -> str:
    """Return the first line of an error, short enough for one line of terminal."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (wanted or lines or [type(error).__name__])[0][:200]


if __name__ == "__main__":
    print(json.dumps(convert(Path(sys.argv[1]), Path(sys.argv[2]))))
