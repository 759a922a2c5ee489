"""From a path to a `Series`: one file with one or many frames, or a folder with one series among others.

Only images are considered; a folder's other files are passed over. Knows nothing of decoding.
"""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DicomError
from ..files import is_folder, list_folder
from .attributes import FrameHeader, ImageFile
from .geometry import stack
from .header import image_if_any, read_image_file
from .magic import begins_as_dicom
from .parse import uid
from .series import Series, Slice

_LISTED = 10


def read_series(path: Path, series_uid: str | None = None) -> Series:
    """Read the headers of a file or of a folder's series, put its slices in order, and decode nothing.

    Args:
        path: A DICOM image, or a folder with the files of a series (not of the folders in it).
        series_uid: Which SeriesInstanceUID, where a folder holds several.

    Raises:
        DicomError: No image, several series, one that is incomplete or irregular (gaps, tilt, two slices in one place,
            mixed sizes or orientations), a header that is damaged or beyond a limit.
        StorageError: A file cannot be read.
    """
    path = Path(path)
    files = _of_folder(path, series_uid) if is_folder(path) else (read_image_file(path),)
    if series_uid is not None and files[0].series_instance_uid != series_uid:
        raise _no_such(series_uid, files)
    return assemble(path, files)


def assemble(path: Path, files: Sequence[ImageFile]) -> Series:
    """Put the frames of files of one series in order.

    Raises:
        DicomError: They do not fit together.
    """
    slices = [Slice(file, frame) for file in files for frame in file.frames]
    _check_alike(files, slices)
    frames = [one.frame for one in slices]
    placed = [frame for frame in frames if frame.position and frame.orientation and frame.spacing]
    spacing = frames[0].spacing or (None, None)
    if len(placed) < len(frames):
        if len(files) > 1 or (placed and len(frames) > 1):
            raise _unplaced(frames, len(files))
        return Series(path, tuple(slices), None, (None, *spacing))
    positions = [frame.position for frame in frames if frame.position]
    orientations = [frame.orientation for frame in frames if frame.orientation]
    assert spacing[0] is not None
    found = stack(positions, orientations, (spacing[0], spacing[1]))
    return Series(path, tuple(slices[index] for index in found.order), found.affine, found.spacing)


def _of_folder(folder: Path, series_uid: str | None) -> tuple[ImageFile, ...]:
    paths = [path for path in list_folder(folder) if path.is_file() and begins_as_dicom(path)]
    files = [file for file in map(image_if_any, paths) if isinstance(file, ImageFile)]
    if not files:
        found = f"none among {len(paths)} DICOM files in {folder}"
        raise DicomError("a DICOM image", found, "name the folder that holds the series' files themselves")
    by_series: dict[str, list[ImageFile]] = {}
    for file in files:
        by_series.setdefault(file.series_instance_uid, []).append(file)
    if series_uid is not None:
        if series_uid not in by_series:
            raise _no_such(series_uid, files)
        return tuple(by_series[series_uid])
    if len(by_series) > 1:
        raise DicomError("one series", _listing(files), "name one of them with --series")
    return tuple(files)


def _no_such(series_uid: str, files: Sequence[ImageFile]) -> DicomError:
    found = _listing(files)
    return DicomError(f"images of the series {series_uid}", found, "name a series that is there with --series")


def _listing(files: Sequence[ImageFile]) -> str:
    """Series by UID, modality and description; nothing of a patient."""
    counts: dict[tuple[str, str, str], int] = {}
    for file in files:
        key = (file.series_instance_uid, file.modality, file.description)
        counts[key] = counts.get(key, 0) + 1
    shown = [
        f"{uid} ({modality}, {count} {'file' if count == 1 else 'files'}{f', “{description}”' if description else ''})"
        for (uid, modality, description), count in counts.items()
    ]
    more = f" and {len(shown) - _LISTED} more" if len(shown) > _LISTED else ""
    return f"{len(shown)} series: {'; '.join(shown[:_LISTED])}{more}" if len(shown) > 1 else shown[0]


def _check_alike(files: Sequence[ImageFile], slices: Sequence[Slice]) -> None:
    first = files[0]
    if len({file.sop_instance_uid for file in files}) < len(files):
        raise DicomError("each image once", "two files of one SOPInstanceUID", "remove the copies from the folder")
    if len(files) > 1 and (many := [file for file in files if file.pixels.frames > 1]):
        found = f"{len(files)} files, one of them with {many[0].pixels.frames} frames"
        raise DicomError("files of one frame each, or one file", found, "name the file that is meant")
    for what, values in (
        ("size", {f"{file.pixels.rows} x {file.pixels.columns}" for file in files}),
        ("photometric interpretation", {file.pixels.photometric for file in files}),
        ("kind of image", {uid(file.sop_class_uid).name for file in files}),
        ("frame of reference", {file.frame_of_reference_uid or "none" for file in files}),
    ):
        if len(values) > 1:
            raise DicomError(f"slices of one {what}", "; ".join(sorted(values)), "keep one stack in the folder")
    spacings = {one.frame.spacing for one in slices}
    usual = slices[0].frame.spacing
    if any((spacing is None) != (usual is None) or _apart(spacing, usual) for spacing in spacings):
        found = f"{len(spacings)} different ones in {len(slices)} slices, beginning with {first.path.name}"
        raise DicomError("slices of one PixelSpacing", found, "keep one stack in the folder")


def _apart(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    if one is None or other is None:
        return False
    return max(abs(a - b) / b for a, b in zip(one, other, strict=True)) > 1e-4


def _unplaced(frames: Sequence[FrameHeader], files: int) -> DicomError:
    names = ("position", "orientation", "spacing")
    lacking = [name for name in names if any(getattr(frame, name) is None for frame in frames)]
    labels = {
        "position": "ImagePositionPatient",
        "orientation": "ImageOrientationPatient",
        "spacing": "PixelSpacing",
    }
    found = f"{', '.join(labels[name] for name in lacking)} missing in some of {len(frames)} slices in {files} files"
    return DicomError("a place in space for each slice of a series", found, "name a single file to segment it alone")
