"""Opens a checkpoint: whatever file a person has, to a state dict under the authors' keys.

`.pth`, `.pt`, `.ckpt` and `.bin` go through a child process (see unpickle); `.safetensors` is read directly. Nothing
is guessed about preprocessing: that is the profile, and weights do not say it.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..runtime.errors import CheckpointError, StorageError
from ..runtime.files import open_file, temporary_folder
from .architecture import used
from .hugging_face import authors_keys, suggested_profile, weight_files

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
PREFIXES = ("module.", "model.", "sam.")
# Where a SAM's keys begin, under the authors' names or Transformers', and what stands before.
_PART = re.compile(r"((?:[^.]+\.)*?)(?:image_encoder|vision_encoder|prompt_encoder|mask_decoder)\.")
_WRAPPED = re.compile(f"(?:{'|'.join(map(re.escape, PREFIXES))})+")
UNPICKLE_SECONDS = 600
# The first digits of their SHA-256 stand in the names of SAM's published files (sam_vit_b_01ec64.pth), as PyTorch's hub
# has it. MedSAM's carry none, and have not been seen here.
PUBLISHED = {"01ec64": "SAM ViT-B", "0b3195": "SAM ViT-L", "4b8939": "SAM ViT-H"}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights as the user has them.

    Attributes:
        path: The file, or Transformers' folder.
        sha256: Hash of the file's bytes; of the hashes of its files where there are several.
        weights_sha256: Hash of names, shapes and float32 values of what the network computes with: the same for every
            way of saving the same weights.
        tensors: State dict, prefixes stripped, floating tensors as float32.
        profile: The profile that the file states about itself (safetensors metadata `profile`), or None.
        suggested_profile: The profile whose steps stand in a folder's `preprocessor_config.json`, or None. Nothing
            takes it without a person's word.
        trained: False for random weights: their masks prove nothing, their latency does.
        left_out: Names in the file of the tensors that stand beside the model, such as a loss's.
    """

    path: Path
    sha256: str
    weights_sha256: str
    tensors: dict[str, torch.Tensor]
    profile: str | None = None
    trained: bool = True
    suggested_profile: str | None = None
    left_out: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running anything that it contains.

    Raises:
        StorageError: If the file is not there or cannot be read.
        CheckpointError: If it is no checkpoint, is damaged, or holds code.
    """
    files = weight_files(path) if path.is_dir() else (path,)
    hashes = [_hash_file(file) for file in files]
    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= _read_tensors(file)
    profile = _stated_profile(path) if path.suffix == ".safetensors" and path.is_file() else None
    inside, beside = _of_the_model(found)
    tensors = {name: _plain(tensor) for name, tensor in authors_keys(_unprefixed(inside)).items()}
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    suggestion = suggested_profile(path) if path.is_dir() else None
    return Checkpoint(
        path, whole, weights_hash(tensors), tensors, profile, suggested_profile=suggestion, left_out=beside
    )


def known_file(sha256: str) -> str | None:
    """Return which published model a file is by its hash, or None."""
    return PUBLISHED.get(sha256[:6])


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path, path)
    if path.suffix in SUFFIXES:
        return _read_pickle(path)
    raise CheckpointError(
        f"a checkpoint ending in {', '.join(SUFFIXES)}, or a SamModel folder",
        path.name,
        "name the file with the weights",
    )


def weights_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash names, shapes and float32 bytes in the order of the names, of what the network computes with."""
    tensors = used(tensors)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.contiguous()


def _of_the_model(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Unwrap a model that something stands beside, and name that.

    Only where the file leaves no choice: all parts of a SAM stand behind one and the same known prefix. Whatever else
    stands behind it stays, for `model_of` to refuse.
    """
    prefixes = {match[1] for name in tensors if (match := _PART.match(name))}
    if len(prefixes) != 1 or not _WRAPPED.fullmatch(prefix := prefixes.pop()):
        return tensors, ()
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return inside, tuple(name for name in tensors if not name.startswith(prefix))


def _unprefixed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Strip what data-parallel and Lightning wrappers put before every key, as often as it stands there."""
    for prefix in PREFIXES * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open_file(path) as file:
        try:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        except OSError as error:
            raise StorageError("a readable file", f"{path}: {error.strerror}", "copy it to another disk") from error
    return digest.hexdigest()


def _read_safetensors(path: Path, original: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged(original, str(error)) from error
    if not tensors:
        raise CheckpointError("tensors in the checkpoint", f"none in {original.name}", "name the file with the weights")
    return tensors


def _stated_profile(path: Path) -> str | None:
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("profile")


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    with temporary_folder() as folder:
        target = folder / "weights.safetensors"
        answer = _unpickle(path, target)
        match answer["state"]:
            case "ok":
                return _read_safetensors(target, path)
            case "code":
                raise CheckpointError(
                    "a state dict (tensors only)",
                    f"{path.name} {answer['detail']}",
                    "in the training code, save model.state_dict() instead of the module, and export that file",
                )
            case "foreign":
                raise CheckpointError(
                    "a file that torch.save wrote",
                    f"{path.name} {answer['detail']}",
                    "name the file with the weights; if it was downloaded, look whether it is a web page",
                )
            case "no-tensors":
                raise CheckpointError(
                    "a state dict (names and tensors)",
                    f"{path.name} holds {answer['detail']} without tensors",
                    "save model.state_dict() and export that file",
                )
            case "no-room":
                raise StorageError(
                    f"room for a copy of {path.name} in the temporary folder",
                    answer["detail"],
                    "free some space there, or set TMPDIR to a folder on a larger disk",
                )
            case _:
                raise _damaged(path, answer["detail"])


def _unpickle(path: Path, target: Path) -> dict[str, str]:
    # By its path: `-m` would need an installed package, and would let the current folder pose as torch.
    program = Path(__file__).with_name("unpickle.py")
    command = [sys.executable, str(program), str(path.resolve()), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=UNPICKLE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"state": "damaged", "detail": f"reading it took more than {UNPICKLE_SECONDS} s"}
    try:
        answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last_words = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"state": "damaged", "detail": f"the process that read it died: {last_words[:200]}"}
    return answer


def _damaged(path: Path, detail: str) -> CheckpointError:
    return CheckpointError(
        "a whole checkpoint file",
        f"{path.name} cannot be read: {detail}",
        "download or copy it again and compare its size with the original's",
    )
