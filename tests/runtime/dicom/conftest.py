"""Synthetic DICOM: nothing is downloaded, every value is known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.types import AnyArray

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
CR, US, US_CINE = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
CLASSES = {"CT": CT, "ENHANCED": ENHANCED_CT, "CR": CR, "US": US, "CINE": US_CINE}


def _image(pixels: AnyArray, kind: str = "CT", syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> FileDataset:  # noqa: ANN401
    """A data set of any kind around pixels; attributes add to it, replace, or with None remove."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CLASSES[kind], generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "A^B", "7", "", ""
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "", "", "", ""
    made.Modality = {"ENHANCED": "CT", "CINE": "US"}.get(kind, kind)
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = pixels.itemsize * 8
    made.HighBit, made.PixelRepresentation = pixels.itemsize * 8 - 1, int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    made["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in attributes.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    if syntax != ExplicitVRLittleEndian:
        _transfer(made, syntax)
    return made


def _transfer(made: FileDataset, syntax: str) -> None:
    uid = pydicom.uid.UID(syntax)
    if uid.is_encapsulated:
        made.compress(uid, generate_instance_uid=False)
    else:
        made.file_meta.TransferSyntaxUID = uid


def _save(made: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def _positions(orientation: Sequence[float], count: int, step: float, start: Sequence[float]) -> AnyArray:
    normal = np.cross(orientation[:3], orientation[3:])
    places: AnyArray = np.array(start) + np.outer(np.arange(count) * step, normal)
    return places


def _series(
    folder: Path,
    voxels: AnyArray,
    orientation: Sequence[float] = AXIAL,
    step: float = 2.5,
    spacing: Sequence[float] = (0.5, 0.75),
    start: Sequence[float] = (-10.0, 20.0, 30.0),
    places: AnyArray | None = None,
    syntax: str = ExplicitVRLittleEndian,
    **attributes: Any,  # noqa: ANN401
) -> Path:
    """A CT series of single-frame files, named so that their order says nothing."""
    if places is None:
        places = _positions(orientation, len(voxels), step, start)
    frame = attributes.pop("FrameOfReferenceUID", "1.2.3.5")
    for index, (pixels, place) in enumerate(zip(voxels, places, strict=True)):
        made = _image(
            pixels,
            syntax=syntax,
            FrameOfReferenceUID=frame,
            ImagePositionPatient=[f"{value:.6f}" for value in place],
            ImageOrientationPatient=[f"{value:.10f}" for value in orientation],
            PixelSpacing=[str(value) for value in spacing],
            SliceThickness="1.25",
            RescaleSlope="1",
            RescaleIntercept="-1024",
            InstanceNumber=index + 1,
            **attributes,
        )
        _save(made, folder / f"{(index * 7 + 3) % 101:03d}.dcm")
    return folder


def _item(**attributes: Any) -> list[Dataset]:  # noqa: ANN401
    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return [made]


def _enhanced(path: Path, voxels: AnyArray, order: Sequence[int], step: float = 2.0, **attributes: Any) -> Path:  # noqa: ANN401
    """An enhanced CT whose frames stand in any order, each with a rescale of its own."""
    places = _positions(AXIAL, len(voxels), step, (5.0, 6.0, 7.0))
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = _item(PixelSpacing=[0.5, 0.75], SliceThickness=1.0, SpacingBetweenSlices=9.0)
    groups = []
    for index in order:
        group = Dataset()
        group.PlanePositionSequence = _item(ImagePositionPatient=[float(value) for value in places[index]])
        values = {"RescaleSlope": 1, "RescaleIntercept": -100 * index, "RescaleType": "HU"}
        group.PixelValueTransformationSequence = _item(**values)
        group.FrameVOILUTSequence = _item(WindowCenter=40 + index, WindowWidth=400)
        groups.append(group)
    made = _image(
        voxels[list(order)],
        "ENHANCED",
        NumberOfFrames=len(voxels),
        FrameOfReferenceUID="1.2.3.5",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
        **attributes,
    )
    return _save(made, path)


@pytest.fixture
def dicom_image() -> Callable[..., FileDataset]:
    """Make a data set: `(pixels, kind, syntax, **attributes)`; kinds are CT, ENHANCED, CR, US and CINE."""
    return _image


@pytest.fixture
def save_dicom() -> Callable[[FileDataset, Path], Path]:
    """Save a data set."""
    return _save


@pytest.fixture
def ct_series() -> Callable[..., Path]:
    """Write a CT series: `(folder, voxels, orientation, step, spacing, start, places, syntax, **attributes)`."""
    return _series


@pytest.fixture
def enhanced_ct() -> Callable[..., Path]:
    """Write an enhanced CT: `(path, voxels, order)`."""
    return _enhanced


@pytest.fixture
def voxels() -> AnyArray:
    """Uint16 (6, 16, 24): every voxel different in its slice, every slice different."""
    made: AnyArray = np.random.default_rng(5).integers(0, 3000, (6, 16, 24)).astype(np.uint16)
    return made
