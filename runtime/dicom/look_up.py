"""Reads look-up tables from a header: modality LUT, VOI LUT, palette.

Their length, first value and width come as three numbers whose traps are the standard's: 0 entries mean 65536, the
first value is signed where pixels are, 8-bit entries may stand two in a word.
"""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from ..errors import DicomError
from ..types import AnyArray
from .attributes import Table

_DESCRIPTOR = "RedPaletteColorLookupTableDescriptor"


def read_table(item: Dataset, signed: bool, big_endian: bool) -> Table:
    """Read one item of ModalityLUTSequence or VOILUTSequence.

    Args:
        item: With LUTDescriptor and LUTData.
        signed: Whether stored values, which the table starts from, are signed.
        big_endian: Of the transfer syntax.

    Raises:
        DicomError: Descriptor and data do not belong together.
    """
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count, first = count or 65536, first - 65536 if signed and first > 32767 else first
    values = _entries(item.LUTData, count, big_endian)
    if len(values) != count or not 1 <= bits <= 16:
        raise DicomError(f"a look-up table of {count} entries", f"{len(values)}", "export or copy the image again")
    return Table(first, values)


def _entries(data: object, count: int, big_endian: bool) -> AnyArray:
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if len(data) in (count, count + 1) and count > 1:
        return np.frombuffer(data, np.uint8)[:count]
    return np.frombuffer(data[: count * 2], ">u2" if big_endian else "<u2").astype(np.uint16)


def read_palette(dataset: Dataset) -> Table:
    """Read the RGB of a palette, segmented or not.

    Returns:
        uint8 `(n, 3)`; entries of 16 bits keep their upper 8.

    Raises:
        DicomError: There is none.
    """
    if _DESCRIPTOR not in dataset:
        raise DicomError("a palette in a PALETTE COLOR image", "none", "export the image again, or as RGB")
    count, first = (int(value) for value in dataset[_DESCRIPTOR].value[:2])
    colours = apply_color_lut(np.arange(first, first + (count or 65536)), dataset)
    return Table(first, colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8))
