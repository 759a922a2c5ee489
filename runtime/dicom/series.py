"""One series, in order: its slices, where they lie, and their values one by one.

Reading a slice decodes that slice only, so memory does not grow with the series. It knows nothing of windows or models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import DicomError
from ..types import AnyArray
from .attributes import FrameHeader, ImageFile
from .frames import is_padding, stored_frame
from .geometry import Affine, to_ras


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of one file."""

    file: ImageFile
    frame: FrameHeader

    @property
    def source(self) -> tuple[str, int]:
        """SOPInstanceUID, and the frame's number in it, from 1."""
        return self.file.sop_instance_uid, self.frame.number


@dataclass(frozen=True, eq=False)
class Series:
    """Slices of one size, in order.

    Attributes:
        path: The file or folder that was named.
        slices: Along the normal where they have places, else in the order of their frames.
        affine: float64 `(4, 4)`, from column, row, slice to millimetres in LPS, voxel centres; None without places.
        spacing: Millimetres between slices, rows and columns; None where the header does not say.
    """

    path: Path
    slices: tuple[Slice, ...]
    affine: Affine | None
    spacing: tuple[float | None, float | None, float | None]

    @property
    def modality(self) -> str:
        """CT, MR, US, …"""
        return self.slices[0].file.modality

    @property
    def image_hw(self) -> tuple[int, int]:
        """Rows and columns of each slice."""
        pixels = self.slices[0].file.pixels
        return pixels.rows, pixels.columns

    @property
    def is_colour(self) -> bool:
        """Whether slices are RGB."""
        return self.slices[0].file.pixels.is_colour

    @property
    def affine_ras(self) -> Affine | None:
        """The affine as NIfTI has it; None without places."""
        return None if self.affine is None else to_ras(self.affine)

    @property
    def sources(self) -> tuple[tuple[str, int], ...]:
        """SOPInstanceUID and frame number of each slice, in order."""
        return tuple(each.source for each in self.slices)

    def find(self, source: tuple[str, int] | None) -> int | None:
        """Return the index of the slice that came from an instance and frame; None if none did."""
        return None if source is None else self._by_source.get(source)

    @cached_property
    def _by_source(self) -> dict[tuple[str, int], int]:
        return {source: index for index, source in enumerate(self.sources)}

    def only(self, index: int) -> "Series":
        """Return the series of one slice.

        Raises:
            DicomError: There is no such slice.
        """
        one, affine = self.slice(index), None
        if self.affine is not None:
            affine = self.affine.copy()
            affine[:3, 3] += index * affine[:3, 2]
        return replace(self, slices=(one,), affine=affine)

    def slice(self, index: int) -> Slice:
        """Return a slice by its index, from 0.

        Raises:
            DicomError: There is no such slice.
        """
        if not 0 <= index < len(self.slices):
            remedy = "name one of these, such as after the @ of a box"
            raise DicomError(f"a slice from 0 to {len(self.slices) - 1}", f"{index}", remedy)
        return self.slices[index]

    def values(self, index: int) -> AnyArray:
        """Decode one slice and apply its modality LUT or rescale.

        Pixels of padding get the lowest value of the others.

        Returns:
            `(H, W)`, int32 or int64 where slope and intercept are whole, else float64 (Hounsfield units for CT); or
            uint8 `(H, W, 3)`, RGB.

        Raises:
            DicomError, MissingExtraError, StorageError: As `frames.stored_frame`; padding only.
        """
        one = self.slice(index)
        return _values(one, stored_frame(one.file, one.frame.number))

    def voxels(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> AnyArray:
        """Decode all slices.

        Args:
            progress: Told the slices done and how many there are.

        Returns:
            `(D, H, W)` in the type that holds every slice's values, or uint8 `(D, H, W, 3)`.

        Raises:
            DicomError, MissingExtraError, StorageError: As `values`.
        """
        found: AnyArray | None = None
        for index in range(len(self.slices)):
            progress(index, len(self.slices))
            values = self.values(index)
            if found is None:
                found = np.empty((len(self.slices), *values.shape), values.dtype)
            if (dtype := np.result_type(found, values)) != found.dtype:
                found = found.astype(dtype)
            found[index] = values
        progress(len(self.slices), len(self.slices))
        assert found is not None  # a series has at least one slice
        return found


def _values(one: Slice, stored: AnyArray) -> AnyArray:
    if one.file.palette is not None:
        return one.file.palette.look_up(stored)
    if stored.ndim == 3:
        return stored.astype(np.uint8, copy=False)
    padding = is_padding(stored, one.file.pixels)
    values = _modality(one.frame, stored)
    if not padding.any():
        return values
    if padding.all():
        found = f"padding only in {one.file.path}"
        raise DicomError("a slice with an image", found, "leave out the slice")
    values[padding] = values[~padding].min()
    return values


def _modality(frame: FrameHeader, stored: AnyArray) -> AnyArray:
    """A copy, always."""
    if frame.modality_table is not None:
        return frame.modality_table.look_up(stored).astype(np.int32)
    slope, intercept = frame.rescale
    if not slope.is_integer() or not intercept.is_integer():
        rescaled: AnyArray = stored.astype(np.float64) * slope + intercept
        return rescaled
    reach = np.iinfo(stored.dtype)
    largest = max(abs(int(reach.min)), int(reach.max)) * abs(slope) + abs(intercept)
    dtype = np.int32 if largest < 2**31 else np.int64
    whole: AnyArray = stored.astype(dtype) * dtype(slope) + dtype(intercept)
    return whole
