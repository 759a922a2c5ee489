"""Reads height and width from a JPEG, JPEG-LS or JPEG 2000 codestream, before any decoder sees it.

A codestream may be larger than its DICOM header says, and a decoder believes the codestream. Knows nothing of DICOM.
"""

from struct import unpack_from

_SOI, _SOC_SIZ = b"\xff\xd8", b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
# Start-of-frame markers: all of 0xC0 to 0xCF but the tables and the arithmetic conditioning, and JPEG-LS's.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_ALONE = {0x01, *range(0xD0, 0xD8)}


def codestream_hw(data: bytes) -> tuple[int, int] | None:
    """Return height and width as the codestream states them; None if it is none of the three, or states none."""
    if data.startswith(_JP2):
        start = data.find(_SOC_SIZ)
        return _jpeg_2000(data[start:]) if start >= 0 else None
    if data.startswith(_SOC_SIZ):
        return _jpeg_2000(data)
    return _jpeg(data) if data.startswith(_SOI) else None


def _jpeg_2000(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24:
        return None
    right, bottom, left, top = unpack_from(">4I", data, 8)
    return bottom - top, right - left


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        kind = data[at + 1]
        if kind in _FRAMES:
            height, width = unpack_from(">2H", data, at + 5)
            return height, width
        # Fill bytes and markers without a body have no length.
        at += 1 if kind == 0xFF else 2 if kind in _ALONE else 2 + int(unpack_from(">H", data, at + 2)[0])
    return None
