"""The child process that opens a `.pth`: `python -m medsam_edge.export.unpickle SOURCE TARGET`.

A pickle is a program. torch refuses to run it (`weights_only=True`), and what remains of the risk, a parser fed with
hostile bytes, stays in a process that does nothing else and dies here. Out comes safetensors, which holds tensors and
nothing more. The answer is one line of JSON on standard output.
"""

import json
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

# Where trainers put the weights inside a larger file: {"model": …} (the authors' training), Lightning's "state_dict",
# and "model_state_dict" as PyTorch's own tutorial has it.
WRAPPERS = ("model", "state_dict", "model_state_dict")
_TORCH_SAVE = (b"PK\x03\x04", b"\x80\x02")  # what torch.save writes, and what it wrote before torch 1.6
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
# What the pickle of a numpy scalar calls, such as the best loss that trainers keep; numpy 2 renamed the first.
_NUMPY = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")


class NumpyScalar:
    """Stands for a numpy scalar or its dtype, whose value nobody wants here.

    Numpy's own functions are not let in: a pickle can set a dtype's flags so that numpy takes the scalar's bytes for
    the address of an object. This one keeps nothing and runs nothing of numpy: what is left is data, and skipped.
    """

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


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
    """Read `source`, write its tensors to `target`, and say how it went.

    Returns:
        `state`: ok, foreign, code, damaged, no-tensors or no-room; `detail`: what was found.
    """
    with source.open("rb") as file:
        start = file.read(16)
    if not start.startswith(_TORCH_SAVE):
        return _answer("foreign", _beginning(start))
    try:
        with torch.serialization.safe_globals([(NumpyScalar, name) for name in _NUMPY]):
            loaded = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # code, damaged zip, short read, bad pickle: torch raises many classes
        return refusal(error)
    tensors = tensors_of(loaded)
    if tensors is None:
        return _answer("no-tensors", described(loaded))
    # Tensors that share storage are legal in a .pth and not in safetensors.
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(copies, target)
    except (OSError, SafetensorError) as error:
        return _answer("no-room", first_sentence(error))
    return _answer("ok", "")


def refusal(error: Exception) -> dict[str, str]:
    """Say why torch did not read a file. Its own advice, to allow the code, is not passed on."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):
        named = _GLOBAL.search(text)
        if named is None:
            return _answer("foreign", f"is a pickle that torch cannot read safely ({first_sentence(error)})")
        return _answer("code", f"is a pickle that wants to run code: {named[1]}")
    if "TorchScript" in text:
        return _answer("code", "is a TorchScript program")
    return _answer("damaged", f"{type(error).__name__} {first_sentence(error)}".strip())


def described(loaded: object) -> str:
    """Name what was found instead of tensors, with the first keys of a dictionary."""
    keys = ", ".join(str(key) for key in list(loaded)[:4]) if isinstance(loaded, Mapping) else ""
    return f"a {type(loaded).__name__}" + (f" with {keys}" if keys else "")


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error, short enough for one line of terminal."""
    lines = str(error).splitlines()
    wanted = next((line for line in lines if "Unsupported" in line), lines[0] if lines else "")
    return wanted.split(". ")[0].strip()[:120]


def _beginning(start: bytes) -> str:
    if start.startswith(b"\x80"):
        return "is a plain Python pickle"
    return f"starts with {start!r}" if start else "is empty"


def _answer(state: str, detail: str) -> dict[str, str]:
    return {"state": state, "detail": detail}


if __name__ == "__main__":
    print(json.dumps(convert(Path(sys.argv[1]), Path(sys.argv[2]))))
