"""NRRD with the voxels in the same file, raw or gzip: reads voxels, and writes labels under the same header.

The lines that say where voxels lie are written back as they stand, so no digit of them changes. Comments, `content`,
axis labels and key/value pairs, which may name a person, are not.
"""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..errors import VolumeError
from ..types import AnyArray
from .streams import MAX_RATIO, Source, opened, packed
from .volume import UNKNOWN, Affine, Geometry, Volume, check_size

SUFFIX = ".nrrd"
MAX_HEADER = 2**16
_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: np.dtype(code) for code, names in _TYPES.items() for name in names.split(", ")}
_SPACES = {
    "right-anterior-superior": "RAS",
    "ras": "RAS",
    "left-posterior-superior": "LPS",
    "lps": "LPS",
    "left-anterior-superior": "LAS",
    "las": "LAS",
}
_KEPT = (
    "dimension", "space", "space dimension", "sizes", "space directions", "spacings", "thicknesses", "axis mins",
    "axismins", "axis maxs", "axismaxs", "centers", "centerings", "kinds", "units", "space units", "space origin",
    "measurement frame",
)  # fmt: skip
_ELSEWHERE = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")
_AGAIN = "export the volume again as a .nrrd of three axes"


@dataclass(frozen=True)
class NrrdForm:
    """Writes labels under the header that a volume came with: its first line, and the lines of its geometry."""

    magic: str
    lines: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """A header and its voxels in one file."""
        return SUFFIX

    def encode(self, labels: AnyArray) -> bytes:
        """Return the file for labels uint8 or uint16 `(D, H, W)`."""
        order = ("endian: little",) if labels.dtype.itemsize > 1 else ()
        head = (self.magic, f"type: {labels.dtype.name}", *self.lines, *order, "encoding: gzip")
        stored = labels.astype(labels.dtype.newbyteorder("<"), copy=False)
        return ("\n".join(head) + "\n\n").encode("ascii") + packed(b"", stored)


def read_nrrd(path: Path, modality: str = UNKNOWN) -> Volume:
    """Read a volume.

    Raises:
        VolumeError: Damaged, truncated, of another number of axes, voxels in another file, an encoding other than raw
            and gzip, too large, or a geometry that cannot be read.
        StorageError: The file is missing or may not be read.
    """
    with opened(path) as source:
        magic, lines = _header_lines(source)
        fields = dict(_field(line) for line in lines)
        shape, dtype = _shape_and_type(fields)
        check_size(shape, dtype)
        geometry = Geometry(*_geometry(fields))
        voxels = _decoder(source, fields).voxels(shape, dtype)
    kept = tuple(line for line in lines if _field(line)[0] in _KEPT)
    return Volume(voxels, geometry, NrrdForm(magic, kept), modality, path)


def _header_lines(source: Source) -> tuple[str, list[str]]:
    """The first line, and the lines `field: value` up to the empty one."""
    lines: list[str] = []
    left = MAX_HEADER
    while left > 0:
        raw = source.stream.readline(left)
        left -= len(raw)
        if not raw.endswith(b"\n"):
            break
        line = raw.decode("latin-1").rstrip("\r\n")
        if not line:
            return lines[0] if lines else "", [one for one in lines[1:] if one[0] != "#" and ":=" not in one]
        if not lines and not (line.startswith("NRRD000") and line[7:].isdigit()):
            raise VolumeError("a NRRD file", "another beginning", "name a .nrrd file")
        lines.append(line)
    raise VolumeError(f"a NRRD header of at most {MAX_HEADER} bytes that ends with an empty line", "none", _AGAIN)


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not line.isascii() or not line.isprintable():
        raise VolumeError("header lines `field: value` in ASCII", f"{line[:60]!r}", _AGAIN)
    return name.strip().lower(), value.strip()


def _shape_and_type(fields: dict[str, str]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in fields:
            raise VolumeError(f"the field `{name}`", "a header without it", _AGAIN)
    if elsewhere := [name for name in _ELSEWHERE if fields.get(name, "0") != "0"]:
        remedy = "save header and voxels as one .nrrd"
        raise VolumeError("voxels right behind the header", f"`{elsewhere[0]}: {fields[elsewhere[0]][:40]}`", remedy)
    sizes = [_size(size) for size in _numbers(fields["sizes"].split(), "sizes")]
    if fields["dimension"] != "3" or len(sizes) != 3:
        found = f"dimension {fields['dimension'][:20]}, {len(sizes)} sizes"
        raise VolumeError("a volume of three axes", found, "split it, and pass one volume")
    dtype = _DTYPES.get(fields["type"].lower())
    if dtype is None:
        raise VolumeError("a type of numbers", f"`type: {fields['type'][:40]}`", _AGAIN)
    if dtype.itemsize > 1:
        order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
        if order is None:
            raise VolumeError("`endian: little` or `big`", fields.get("endian", "no such field")[:40], _AGAIN)
        dtype = dtype.newbyteorder(order)  # type: ignore[arg-type]
    return tuple(sizes[::-1]), dtype


def _size(number: float) -> int:
    if not np.isfinite(number) or number != int(number):
        raise VolumeError("whole sizes", f"{number}", _AGAIN)
    return int(number)


def _decoder(source: Source, fields: dict[str, str]) -> Source:
    match fields["encoding"].lower():
        case "raw":
            return source
        case "gzip" | "gz":
            inner = gzip.GzipFile(fileobj=source.stream)
            return Source(cast(BinaryIO, inner), source.most * MAX_RATIO)
    raise VolumeError("`encoding: raw` or `gzip`", f"`{fields['encoding'][:40]}`", "save it with one of the two")


def _geometry(fields: dict[str, str]) -> tuple[Affine, str]:
    """The affine to the space that the header names, and that space; its spacings alone name none."""
    affine = np.eye(4)
    space = _SPACES.get(fields.get("space", "").lower(), UNKNOWN)
    if "space directions" in fields:
        vectors = _vectors(fields["space directions"])
        if len(vectors) != 3:
            raise VolumeError("three space directions", f"{len(vectors)}", _AGAIN)
        affine[:3, :3] = np.array(vectors).T
        if "space origin" in fields:
            affine[:3, 3] = _vectors(fields["space origin"])[0]
        return affine, space
    spacings = list(_numbers(fields.get("spacings", "1 1 1").split(), "spacings"))
    if len(spacings) != 3:
        raise VolumeError("three spacings", f"{len(spacings)}", _AGAIN)
    # ITK and Slicer take 1 where an axis has no spacing
    affine[:3, :3] = np.diag([spacing if np.isfinite(spacing) else 1.0 for spacing in spacings])
    return affine, UNKNOWN


def _vectors(text: str) -> list[list[float]]:
    """`(1,0,0) (0,1,0) (0,0,1)` as numbers."""
    vectors = [list(_numbers(one.strip("()").split(","), "vectors")) for one in text.replace(") (", ")|(").split("|")]
    if any(len(vector) != 3 for vector in vectors):
        raise VolumeError("vectors of three numbers", f"{text[:60]}", _AGAIN)
    return vectors


def _numbers(words: Iterable[str], what: str) -> Iterable[float]:
    for word in words:
        try:
            yield float(word)
        except ValueError:
            raise VolumeError(f"numbers in `{what}`", f"{word[:20]!r}", _AGAIN) from None
