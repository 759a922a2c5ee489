"""Frozen dataclasses to JSON values and back, refusing whatever the declared types do not say.

A reader that guesses turns a damaged file into a wrong mask, so unknown keys, missing keys, wrong types and
numbers that are not finite are errors that name their place ("manifest.graphs[0].sha256"). This module knows
types only: not what a manifest means, nor where its bytes come from. It exists because the device has numpy
and nothing else.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, field, fields, is_dataclass
from pathlib import Path
from reprlib import repr as short
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .errors import BundleError

T = TypeVar("T")
_MEND = "export again or copy the file again"
_OMITTED = "omitted where it holds its default"


def omitted(default: T) -> T:
    """Declare a field that JSON has only where it is not its default, so that a later field changes no older file."""
    return field(default=default, metadata={_OMITTED: True})


def to_json(obj: object, where: str = "manifest") -> dict[str, object]:
    """Turn a dataclass into what `json.dumps` takes, in the order of its fields.

    Raises:
        BundleError: A value that JSON has no word for, such as NaN, bytes or a numpy scalar.
    """
    if not is_dataclass(obj) or isinstance(obj, type):
        raise _wrong(where, "a dataclass", obj)
    kept = [field.name for field in fields(obj) if not _left_out(field, getattr(obj, field.name))]
    return {name: _encode(getattr(obj, name), f"{where}.{name}") for name in kept}


def to_plain(value: object, where: str = "result") -> object:
    """Turn dataclasses, mappings, sequences and paths into what `json.dumps` takes.

    Raises:
        BundleError: A value that JSON has no word for.
    """
    return _encode(value, where)


def from_json(cls: type[T], data: object, where: str = "manifest") -> T:
    """Build `cls` from what `json.loads` gave.

    Understands str, int, float (a JSON integer counts as one), bool, None, unions of those, `tuple[X, ...]`,
    `tuple[X, Y]`, `dict[str, X]`, nested dataclasses, and `object` for free-form JSON.

    Raises:
        BundleError: A key too many or too few, another type, or NaN; the message names the place.
    """
    return cast(T, _decode(cls, data, where))


def _encode(value: object, where: str) -> object:
    if is_dataclass(value):
        return to_json(value, where)
    if isinstance(value, Mapping):
        return {_key(key, where): _encode(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if type(value) is float:
        return _float(value, where)
    if type(value) in (str, int, bool, NoneType):
        return value
    if isinstance(value, Path):
        return str(value)
    raise _wrong(where, "a value that JSON can hold", value)


def _decode(kind: Any, value: object, where: str) -> object:  # noqa: ANN401 - a type form, not a class
    origin, args = get_origin(kind), get_args(kind)
    if kind is object:
        return _encode(value, where)
    if is_dataclass(kind):
        return _decode_dataclass(cast("type[Any]", kind), value, where)
    if origin in (Union, UnionType):
        return _decode_union(args, value, where)
    if origin is tuple:
        return _decode_tuple(args, value, where)
    if origin is dict:
        return {key: _decode(args[1], item, f"{where}.{key}") for key, item in _object(value, where).items()}
    return _decode_scalar(kind, value, where)


def _decode_dataclass(cls: type[Any], value: object, where: str) -> object:
    data, hints = _object(value, where), get_type_hints(cls)
    _check_keys(cls, data, where)
    given = [field for field in fields(cls) if field.name in data]
    made = cls(**{field.name: _decode(hints[field.name], data[field.name], f"{where}.{field.name}") for field in given})
    if spare := [field.name for field in given if _left_out(field, getattr(made, field.name))]:
        raise BundleError(f"no key {where}.{spare[0]} for what its absence says", short(data[spare[0]]), _MEND)
    return made


def _check_keys(cls: type[Any], data: dict[str, object], where: str) -> None:
    names = [field.name for field in fields(cls)]
    if unknown := sorted(set(data) - set(names)):
        raise BundleError(f"{where} with only the keys {', '.join(names)}", f"{short(unknown[0])} too", _MEND)
    required = [field.name for field in fields(cls) if _OMITTED not in field.metadata]
    if missing := [name for name in required if name not in data]:
        raise BundleError(f"{where}.{missing[0]}", "no such key", _MEND)


def _left_out(field: "Field[Any]", value: object) -> bool:
    return _OMITTED in field.metadata and value == field.default


def _decode_union(arms: tuple[Any, ...], value: object, where: str) -> object:
    if value is None and NoneType in arms:
        return None
    others = [arm for arm in arms if arm is not NoneType]
    if len(others) == 1:
        return _decode(others[0], value, where)
    for arm in others:
        with suppress(BundleError):
            return _decode(arm, value, where)
    raise _wrong(where, " or ".join(getattr(arm, "__name__", str(arm)) for arm in others), value)


def _decode_tuple(args: tuple[Any, ...], value: object, where: str) -> object:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    kinds = [args[0]] * len(value) if args[1:] == (...,) else list(args)
    if len(kinds) != len(value):
        raise _wrong(where, f"a list of {len(kinds)}", value)
    return tuple(_decode(kind, value[i], f"{where}[{i}]") for i, kind in enumerate(kinds))


def _decode_scalar(kind: type, value: object, where: str) -> object:
    if kind is float and type(value) in (int, float):
        return _float(cast(float, value), where)
    if type(value) is not kind:  # isinstance would let True pass for 1
        raise _wrong(where, kind.__name__, value)
    return value


def _float(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(where, "a finite number", value)
    return number


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return {_key(key, where): item for key, item in value.items()}


def _key(key: object, where: str) -> str:
    if type(key) is not str:
        raise _wrong(where, "only str keys", key)
    return key


def _wrong(where: str, expected: str, value: object) -> BundleError:
    return BundleError(f"{where} to be {expected}", f"{type(value).__name__} {short(value)}", _MEND)
