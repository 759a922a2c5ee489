"""What a SEG says about its segments and about what drew them, as plain data.

A code is value, scheme and meaning, such as `10200004,SCT,Liver`. The default says only that it is tissue, for a box
does not say of what. Knows nothing of pixels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from ..files import read_bytes

MAX_SEGMENTS_BYTES = 2**20
_LABEL_LENGTH, _CODE_LENGTHS = 64, (16, 16, 64)


@dataclass(frozen=True)
class Code:
    """A coded concept: value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        parts = (self.value, self.scheme, self.meaning)
        if not all(0 < len(part) <= limit for part, limit in zip(parts, _CODE_LENGTHS, strict=True)):
            found = ",".join(part[:70] for part in parts)
            remedy = "write it like 10200004,SCT,Liver (at most 16, 16 and 64 characters)"
            raise UsageError("a code VALUE,SCHEME,MEANING", found, remedy)


TISSUE = Code("85756007", "SCT", "Tissue")


@dataclass(frozen=True)
class Segment:
    """One object of a SEG.

    Attributes:
        label: SegmentLabel, at most 64 characters.
        category: SegmentedPropertyCategory.
        type: SegmentedPropertyType.
    """

    label: str
    category: Code = TISSUE
    type: Code = TISSUE

    def __post_init__(self) -> None:
        if not 0 < len(self.label) <= _LABEL_LENGTH or not self.label.isprintable() or "\\" in self.label:
            found = f"{self.label[:70]!r}"
            raise UsageError(f"a label of 1 to {_LABEL_LENGTH} plain characters", found, "choose another label")


@dataclass(frozen=True)
class Algorithm:
    """What drew the masks; it goes into each segment's AlgorithmIdentificationSequence.

    Attributes:
        name: Of the model, at most 64 characters.
        version: Of the toolkit, the same.
        parameters: Names and values, such as profile, backend and the graphs' hashes.
        automatic: False where a person gave the boxes (SEMIAUTOMATIC).
    """

    name: str
    version: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    automatic: bool = False


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Read a JSON list about the objects, in the order of their boxes.

    `[{"label": "Liver", "category": "123037004,SCT,Anatomical Structure", "type": "10200004,SCT,Liver"}, …]`;
    category and type may be left out.

    Raises:
        UsageError: It is no such list.
        StorageError: It cannot be read.
    """
    try:
        items = json.loads(read_bytes(path, MAX_SEGMENTS_BYTES))
        if not isinstance(items, list) or not items:
            raise ValueError("no list of objects")
        return tuple(_segment(item) for item in items)
    except (ValueError, RecursionError) as error:
        remedy = 'write [{"label": "Liver", "category": "…,SCT,…", "type": "10200004,SCT,Liver"}]'
        raise UsageError("a JSON list of segments", f"{error} in {path}", remedy) from error


def _segment(item: object) -> Segment:
    if not isinstance(item, dict) or not {"label"} <= item.keys() <= {"label", "category", "type"}:
        raise ValueError("an entry without label, or with other keys than label, category and type")
    if not all(isinstance(value, str) for value in item.values()):
        raise ValueError("a value that is no text")
    codes = {name: _code(item[name]) for name in ("category", "type") if name in item}
    return Segment(item["label"], **codes)


def _code(text: str) -> Code:
    value, _, rest = text.partition(",")
    scheme, _, meaning = rest.partition(",")
    return Code(value.strip(), scheme.strip(), meaning.strip())
