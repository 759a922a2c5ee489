import gzip
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.errors import MedSAMEdgeError, VolumeError
from medsam_edge.runtime.volumes.nrrd import read_nrrd

VOXELS = np.random.default_rng(1).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
GEOMETRY = """space: left-posterior-superior
space directions: (0.70312500000000011,1e-17,0) (-0.1,0.8,0.02) (0.05,-0.3,2.4999999999999996)
kinds: domain domain domain
space origin: (-180.12345678901235,-3.3333333333333335,1e-3)"""
PATIENT = '# DOE^JANE\ncontent: DOE^JANE\nlabels: "DOE^JANE" "y" "z"\nPatientName:=DOE^JANE\n'


def save(path: Path, geometry: str = GEOMETRY, encoding: str = "raw", **changed: str) -> Path:
    fields = {"type": "short", "dimension": "3", "sizes": "7 6 5", "endian": "little", "encoding": encoding, **changed}
    lines = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    head = f"NRRD0005\n{lines}{PATIENT}{geometry}"
    order = ">i2" if fields["endian"] == "big" else "<i2"
    data = VOXELS.astype(order).tobytes()
    path.write_bytes(head.encode() + b"\n\n" + (gzip.compress(data) if encoding != "raw" else data))
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_voxels_and_geometry_are_those_of_the_header(tmp_path: Path, encoding: str, endian: str) -> None:
    found = read_nrrd(save(tmp_path / "a.nrrd", encoding=encoding, endian=endian))
    np.testing.assert_array_equal(found.voxels, VOXELS)
    assert found.geometry.affine[:3, 2].tolist() == [0.05, -0.3, 2.4999999999999996]
    assert found.geometry.affine[:3, 3].tolist() == [-180.12345678901235, -3.3333333333333335, 1e-3]
    assert found.geometry.orientation == "LPS"


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_simpleitk_reads_what_we_read_and_what_we_write(tmp_path: Path, encoding: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    cosines = "(0.6,0.8,0) (-0.8,0.6,0) (0,0,2.5)"
    place = f"space: LPS\nspace directions: {cosines}\nspace origin: (1,2,3)"
    volume = read_nrrd(save(tmp_path / "a.nrrd", place, encoding))
    labels = np.arange(VOXELS.size, dtype=np.uint16).reshape(VOXELS.shape)
    (tmp_path / "b.nrrd").write_bytes(volume.form.encode(labels))
    one, other = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nrrd", "b.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), volume.voxels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), labels)
    for part in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(one, part)() == getattr(other, part)()
    point = volume.geometry.affine @ np.array([3, 1, 4, 1])
    np.testing.assert_allclose(one.TransformIndexToPhysicalPoint((3, 1, 4)), point[:3])


def test_lines_of_geometry_come_back_as_they_stand_and_nothing_that_names_a_person(tmp_path: Path) -> None:
    volume = read_nrrd(save(tmp_path / "a.nrrd"))
    data = volume.form.encode(np.ones(VOXELS.shape, np.uint8))
    assert all(f"{line}\n".encode() in data for line in GEOMETRY.splitlines())
    assert b"DOE" not in data
    (tmp_path / "b.nrrd").write_bytes(data)
    again = read_nrrd(tmp_path / "b.nrrd")
    assert again.geometry.affine.tobytes() == volume.geometry.affine.tobytes()
    assert again.voxels.dtype == np.uint8


def test_the_space_decides_the_orientation(tmp_path: Path) -> None:
    for space, orientation in (("RAS", "RAS"), ("left-anterior-superior", "LAS"), ("scanner-xyz", None)):
        place = f"space: {space}\nspace directions: (1,0,0) (0,1,0) (0,0,1)"
        assert read_nrrd(save(tmp_path / "a.nrrd", place)).geometry.orientation == orientation


def test_spacings_alone_give_no_orientation(tmp_path: Path) -> None:
    found = read_nrrd(save(tmp_path / "a.nrrd", "spacings: 0.5 0.75 nan"))
    assert (found.geometry.spacing, found.geometry.orientation) == ((0.5, 0.75, 1.0), None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data file": "../../secret.raw"}, "right behind the header"),
        ({"byte skip": "-1"}, "right behind the header"),
        ({"encoding": "bzip2"}, "raw"),
        ({"type": "block"}, "a type of numbers"),
        ({"dimension": "4", "sizes": "2 7 6 5"}, "three axes"),
        ({"sizes": "7 6"}, "three axes"),
        ({"sizes": "7 6 x"}, "numbers in `sizes`"),
        ({"sizes": "7 6 nan"}, "whole sizes"),
        ({"sizes": "7 6 1e300"}, "voxels"),
        ({"sizes": "7 6 50"}, "bytes of voxels"),
        ({"sizes": "9999 9999 9999"}, "at most"),
        ({"endian": ""}, "endian"),
        ({"type": ""}, "the field `type`"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        read_nrrd(save(tmp_path / "a.nrrd", **changed))


@pytest.mark.parametrize(
    "place",
    [
        "space: LPS\nspace directions: (1,0,0) (0,1,0) none",
        "space: LPS\nspace directions: (1,0,0) (0,1,0)",
        "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,2,0)",
        "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,inf)",
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (1,2)",
        "spacings: 1 1",
        "spacings 1 1 1",
    ],
)
def test_a_geometry_that_cannot_be_read_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(VolumeError):
        read_nrrd(save(tmp_path / "a.nrrd", place))


def test_files_without_end_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    for data in (b"", b"NRRD", b"NRRD0005\n" + b"a: b\n" * 30000, b"NRRD0005\ntype: short\n", b"\x89PNG\n\n", b"\n\n"):
        (tmp_path / "a.nrrd").write_bytes(data)
        with pytest.raises(VolumeError):
            read_nrrd(tmp_path / "a.nrrd")


def test_mutated_files_raise_our_errors_only(tmp_path: Path) -> None:
    whole, random = save(tmp_path / "a.nrrd", encoding="gzip").read_bytes(), np.random.default_rng(3)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 9)):
            data[place] = random.integers(256)
        (tmp_path / "b.nrrd").write_bytes(data)
        try:
            read_nrrd(tmp_path / "b.nrrd")
        except MedSAMEdgeError:
            refused += 1
    assert refused > 20
