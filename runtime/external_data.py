"""Finds where an ONNX file says that its weights lie, and refuses any place but the files that its manifest lists.

A library that opens a graph follows each tensor's `location` by itself: "../../etc/passwd" would be read unasked, and
ONNX Runtime has a spelling of its own for an address in memory. ONNX is protobuf, so the tensors are found by a walk
through the few kinds of messages that hold them; weights themselves are stepped over. Nothing here knows what a graph
computes.
"""

import re
from collections.abc import Iterator, Sequence
from mmap import mmap
from reprlib import repr as short
from typing import NamedTuple

from .errors import BundleError
from .manifest import WeightsEntry

_MEND = "export again or copy the bundle again"
_LOCATION = b"location"
_KEYS = {"location", "offset", "length"}
_NUMBER = re.compile(r"[0-9]{1,18}")
# Wire types of protobuf. Those that are left out, groups, are in no ONNX file.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# The messages of onnx.proto that lead to tensors, each with the numbers of the fields that do.
_LEADING: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_KEY, _VALUE = 1, 2  # fields of an entry of external_data


class Place(NamedTuple):
    """Where a tensor says that its values lie; offset and length in bytes."""

    location: str
    offset: int
    length: int


class _Field(NamedTuple):
    number: int
    kind: int
    start: int  # of the payload
    end: int


class MalformedError(Exception):
    """Not as protobuf, or as this toolkit, writes it; it does not leave this file but through `places`."""


def check_external_data(name: str, data: bytes | mmap, weights: Sequence[WeightsEntry]) -> None:
    """Hold the files that an ONNX file refers to against those that its manifest lists.

    Args:
        name: The ONNX file's name, for the message.
        data: Its content.
        weights: What the manifest lists for it; a location is the bare name of one of them.

    Raises:
        BundleError: It refers to another file, beyond the end of one, or not to all of them.
    """
    listed = {entry.file.rpartition("/")[2]: entry.bytes for entry in weights}
    found = _found(name, data)
    for place in found:
        _check_place(name, place, listed)
    if unused := sorted(set(listed) - {place.location for place in found}):
        raise BundleError(f"weights in {unused[0]}, which the manifest lists for {name}", "no tensor there", _MEND)


def _found(name: str, data: bytes | mmap) -> list[Place]:
    try:
        return list(places(data))
    except MalformedError as error:
        # Whatever a parser makes of such a file, without this key it cannot name another one.
        if data.find(_LOCATION) < 0:
            return []
        raise BundleError(f"an ONNX graph in {name} as medsam-edge writes it", str(error), _MEND) from error


def _check_place(name: str, place: Place, listed: dict[str, int]) -> None:
    if place.location not in listed:
        known = ", ".join(listed) or "itself"
        raise BundleError(f"{name} to refer to no file but {known}", short(place.location), _MEND)
    if place.offset + place.length > listed[place.location]:
        expected = f"weights within the {listed[place.location]} bytes of {place.location}"
        raise BundleError(expected, f"{place.length} bytes from {place.offset} on in {name}", _MEND)


def places(data: bytes | mmap) -> Iterator[Place]:
    """Walk through an ONNX file and yield the place of each tensor that lies outside it.

    Raises:
        MalformedError: It is no such file, or a place is not stated once and whole.
    """
    left = [("Model", 0, len(data))]
    while left:  # no recursion: a file may nest deeper than Python does
        message, start, end = left.pop()
        if message == "Tensor":
            yield from _place(data, start, end)
            continue
        for field in _fields(data, start, end):
            if field.kind == _BYTES and field.number in _LEADING[message]:
                left.append((_LEADING[message][field.number], field.start, field.end))


def _place(data: bytes | mmap, start: int, end: int) -> Iterator[Place]:
    entries: list[tuple[str, str]] = []
    outside = False
    for field in _fields(data, start, end):
        if field.number == _DATA_LOCATION and field.kind == _VARINT:
            outside |= _varint(data, field.start, field.end)[0] != 0
        elif field.number == _EXTERNAL_DATA and field.kind == _BYTES:
            entries.append(_entry(data, field.start, field.end))
    if not (entries or outside):
        return
    stated = dict(entries)
    numbers = [stated.get("offset", ""), stated.get("length", "")]
    if len(entries) != len(_KEYS) or set(stated) != _KEYS or not all(map(_NUMBER.fullmatch, numbers)):
        raise MalformedError(f"a tensor outside of the file at {short(entries)}")
    yield Place(stated["location"], *map(int, numbers))


def _entry(data: bytes | mmap, start: int, end: int) -> tuple[str, str]:
    fields = {field.number: data[field.start : field.end] for field in _fields(data, start, end)}
    try:
        return fields[_KEY].decode("utf-8"), fields[_VALUE].decode("utf-8")
    except (KeyError, UnicodeDecodeError) as error:
        raise MalformedError("an external_data entry that is no pair of texts") from error


def _fields(data: bytes | mmap, start: int, end: int) -> Iterator[_Field]:
    """Step over the fields of one message."""
    while start < end:
        tag, start = _varint(data, start, end)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            length, start = _varint(data, start, end)
            stop = start + length
        elif kind == _VARINT:
            stop = _varint(data, start, end)[1]
        elif kind in (_FIXED64, _FIXED32):
            stop = start + (8 if kind == _FIXED64 else 4)
        else:
            raise MalformedError(f"a field of the wire type {kind}")
        # A tag of more than 32 bits could be another one to a parser that drops the upper bits.
        if stop > end or tag >> 32 or not number:
            raise MalformedError("a field that does not fit")
        yield _Field(number, kind, start, stop)
        start = stop


def _varint(data: bytes | mmap, start: int, end: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, and say where it ends."""
    value = 0
    for at in range(start, min(start + 10, end)):
        byte = data[at]
        value |= (byte & 0x7F) << (7 * (at - start))
        if byte < 0x80:
            return value, at + 1
    raise MalformedError("a number without an end")
