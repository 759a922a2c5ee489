"""Golden cases: what the source checkpoint answered, so that a device can check its own answers.

A golden case travels as an npz whose bytes depend on its content alone, so that the same case has the same
hash on every machine: members in a fixed order, fixed time stamps, no compression (zlib's output differs
between builds, and a member that is not compressed cannot be a bomb). Text is UTF-8 in uint8, so that a
reader in C++ needs no numpy string type. This module knows neither bundles nor how an answer is computed.
"""

import io
import zipfile
from dataclasses import dataclass
from tokenize import TokenError

import numpy as np

from .errors import BundleError
from .types import AnyArray, Boxes, Image, Logits, Masks

_MEND = "export again or copy the bundle again"
# What zipfile and numpy were seen to raise on damaged bytes.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    TokenError,
    zipfile.BadZipFile,
)
_FLOATS = {"boxes": 2, "image_embedding": 4, "low_res_logits": 4, "iou_predictions": 2}


@dataclass(frozen=True, eq=False)
class Golden:
    """A case and the source checkpoint's answer to it.

    Attributes:
        id: Unique within its bundle.
        modality: "CT", "MR", … as reports group it.
        image: uint8 `(H, W, 3)`.
        boxes: float32 `(N, 4)`, in pixels of `image`.
        image_embedding: float32 `(1, C, E, E)`.
        low_res_logits: float32 `(N, 1, 4E, 4E)`.
        iou_predictions: float32 `(N, 1)`.
        masks: bool `(N, H, W)`, drawn by the source checkpoint.
        reference: bool `(N, H, W)`, drawn by a person, or None.
    """

    id: str
    modality: str
    image: Image
    boxes: Boxes
    image_embedding: Logits
    low_res_logits: Logits
    iou_predictions: Logits
    masks: Masks
    reference: Masks | None = None


def encode_golden(golden: Golden) -> bytes:
    """The npz bytes of a golden case; equal cases give equal bytes.

    Raises:
        BundleError: Arrays whose shapes or dtypes do not belong together, or a float that is not finite.
    """
    _check(golden)
    arrays: dict[str, AnyArray] = {"id": _from_text(golden.id), "modality": _from_text(golden.modality)}
    arrays["image"] = golden.image
    arrays |= {name: np.asarray(getattr(golden, name), "<f4") for name in _FLOATS}
    arrays["masks_packed"] = np.packbits(golden.masks)
    if golden.reference is not None:
        arrays["reference_packed"] = np.packbits(golden.reference)
    return _npz(arrays)


def decode_golden(data: bytes) -> Golden:
    """Read what `encode_golden` wrote.

    Raises:
        BundleError: Bytes that are not a golden case.
    """
    try:
        golden = _golden(_members(data))
    except _DAMAGE as error:
        raise BundleError("a golden case in npz form", f"{type(error).__name__}: {error}", _MEND) from error
    _check(golden)
    return golden


def _npz(arrays: dict[str, AnyArray]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # else it depends on who writes
            archive.writestr(info, member.getvalue())
    return target.getvalue()


def _members(data: bytes) -> dict[str, AnyArray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name]) for name in arrays.files}


def _golden(arrays: dict[str, AnyArray]) -> Golden:
    shape = (len(arrays["boxes"]), *arrays["image"].shape[:2])
    packed = arrays.get("reference_packed")
    return Golden(
        id=_to_text(arrays["id"]),
        modality=_to_text(arrays["modality"]),
        image=arrays["image"],
        masks=_unpack(arrays["masks_packed"], shape),
        reference=None if packed is None else _unpack(packed, shape),
        **{name: arrays[name] for name in _FLOATS},
    )


def _unpack(packed: AnyArray, shape: tuple[int, ...]) -> Masks:
    count = int(np.prod(shape))
    if packed.shape != ((count + 7) // 8,):
        raise ValueError(f"{packed.shape} packed bytes for masks of shape {shape}")
    return np.unpackbits(packed, count=count).reshape(shape).astype(bool)


def _from_text(text: str) -> AnyArray:
    return np.frombuffer(text.encode("utf-8"), np.uint8)


def _to_text(array: AnyArray) -> str:
    if array.dtype != np.uint8:
        raise ValueError(f"text as {array.dtype}")
    return array.tobytes().decode("utf-8")


def _check(golden: Golden) -> None:
    _expect(golden, "image", golden.image.ndim == 3 and golden.image.shape[-1] == 3, np.uint8)
    for name, ndim in _FLOATS.items():
        array: AnyArray = getattr(golden, name)
        _expect(golden, name, array.ndim == ndim and bool(np.isfinite(array).all()), np.float32)
    count = len(golden.boxes)
    _expect(golden, "boxes", golden.boxes.shape[1] == 4, np.float32)
    _expect(golden, "low_res_logits", len(golden.low_res_logits) == count, np.float32)
    _expect(golden, "iou_predictions", golden.iou_predictions.shape == (count, 1), np.float32)
    for name in ("masks", "reference"):
        if getattr(golden, name) is not None:
            shape = (count, *golden.image.shape[:2])
            _expect(golden, name, getattr(golden, name).shape == shape, np.bool_)


def _expect(golden: Golden, name: str, fits: bool, dtype: type[np.generic]) -> None:
    array: AnyArray = getattr(golden, name)
    if not fits or array.dtype != dtype:
        expected = f"{name} of golden case {golden.id!r} as finite {np.dtype(dtype)} in the documented shape"
        raise BundleError(expected, f"{array.dtype} {array.shape}", "compute the golden case again")
