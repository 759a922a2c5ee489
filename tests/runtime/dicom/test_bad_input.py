"""Damaged, hostile and incomplete files: one family of errors, quickly, without a decoder believing them."""

import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from medsam_edge.runtime.dicom import frames, parse
from medsam_edge.runtime.dicom.codestream import codestream_hw
from medsam_edge.runtime.dicom.magic import is_dicom
from medsam_edge.runtime.dicom.reading import read_series
from medsam_edge.runtime.errors import DicomError, MedSAMEdgeError, MissingExtraError, StorageError
from pydicom import FileDataset
from pydicom.encaps import encapsulate

Save = Callable[[FileDataset, Path], Path]
Make = Callable[..., FileDataset]
GRAY = np.random.default_rng(3).integers(0, 256, (64, 48), np.uint8)
RLE, JPEG_2000, MPEG4 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.102"
JPEG_LS, DEFLATED = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1.99"


@pytest.fixture
def refused(tmp_path: Path, save_dicom: Save) -> Callable[[FileDataset], str]:
    def read(made: FileDataset) -> str:
        with pytest.raises(DicomError) as caught:
            read_series(save_dicom(made, tmp_path / "a.dcm")).values(0)
        return str(caught.value)

    return read


def test_what_is_no_dicom_is_told_by_its_content(tmp_path: Path, dicom_image: Make, save_dicom: Save) -> None:
    text, real = tmp_path / "scan.dcm", save_dicom(dicom_image(GRAY, "CR"), tmp_path / "folder" / "scan.png")
    text.write_text("no DICOM at all")
    assert [is_dicom(path) for path in (text, real, real.parent, tmp_path, tmp_path / "none")] == [
        False, True, True, False, False,
    ]  # fmt: skip
    with pytest.raises(DicomError, match="no DICM"):
        read_series(text)
    with pytest.raises(StorageError):
        read_series(tmp_path / "none")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLE, JPEG_2000, DEFLATED, JPEG_LS])
def test_every_truncation_is_one_kind_of_error(
    tmp_path: Path, dicom_image: Make, save_dicom: Save, syntax: str
) -> None:
    whole = save_dicom(dicom_image(GRAY, "CR", syntax), tmp_path / "a.dcm").read_bytes()
    for length in range(0, len(whole) - 8, max(1, len(whole) // 30)):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(DicomError):
            read_series(tmp_path / "cut.dcm").values(0)


@pytest.mark.parametrize("count", [250, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", RLE, JPEG_2000, DEFLATED, JPEG_LS])
def test_changed_bytes_give_pixels_or_an_error_of_ours(
    tmp_path: Path, dicom_image: Make, save_dicom: Save, syntax: str, count: int
) -> None:
    random = np.random.default_rng(count)
    whole = save_dicom(dicom_image(GRAY, "CR", syntax), tmp_path / "a.dcm").read_bytes()
    pixels = 0
    for _ in range(count):
        changed = bytearray(whole)
        for at in random.integers(128, len(whole), random.integers(1, 9)):
            changed[at] = random.integers(0, 256)
        if random.random() < 0.2:
            at = int(random.integers(128, len(whole)))
            changed[at:at] = random.bytes(int(random.integers(1, 40)))
        (tmp_path / "b.dcm").write_bytes(changed)
        with suppress(MedSAMEdgeError):
            read_series(tmp_path / "b.dcm").values(0)
            pixels += 1
    assert 0 < pixels < count


@pytest.mark.parametrize(
    "name",
    [
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "PhotometricInterpretation",
        "SOPInstanceUID",
        "SeriesInstanceUID",
    ],
)
def test_a_missing_attribute_is_named(dicom_image: Make, refused: Callable[..., str], name: str) -> None:
    made = dicom_image(GRAY, "CR", **{name: None})
    assert f"the attribute {name};" in refused(made)


def test_a_file_without_pixels_and_one_that_is_no_image_are_refused(
    dicom_image: Make, refused: Callable[..., str]
) -> None:
    assert "found none" in refused(dicom_image(GRAY, "CR", PixelData=None))
    sr = dicom_image(GRAY, "CR", Rows=None, PixelData=None)
    sr.SOPClassUID = sr.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    assert "Basic Text SR" in refused(sr)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"Rows": 32768, "Columns": 32768}, "megapixels"),
        ({"NumberOfFrames": 2**30}, "at most 2,147,483,648 values"),
        ({"NumberOfFrames": 2**17, "Rows": 1, "Columns": 1}, "65,536 frames"),
        ({"NumberOfFrames": 1000}, "truncated"),
        ({"Rows": 65}, "truncated"),
        ({"NumberOfFrames": 0}, "NumberOfFrames of 1 to"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "BitsAllocated of 8, 16, 32"),
        ({"BitsStored": 12, "HighBit": 15, "BitsAllocated": 16}, "HighBit one below"),
        ({"PhotometricInterpretation": "ARGB", "SamplesPerPixel": 4}, "ARGB"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing above 0"),
        ({"RescaleSlope": "0"}, "slope other than 0"),
    ],
)
def test_sizes_and_formats_are_judged_before_anything_is_decoded(
    dicom_image: Make,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    attributes: dict[str, object],
    words: str,
) -> None:
    monkeypatch.setattr(frames, "get_decoder", None)
    assert words in refused(dicom_image(GRAY, "CINE", **attributes))


def test_a_lie_about_frames_in_a_small_compressed_file_costs_nothing(
    dicom_image: Make, refused: Callable[..., str]
) -> None:
    made = dicom_image(GRAY, "CINE", RLE)
    made.NumberOfFrames = 60_000
    assert "480,000 bytes of pixel data or more; found a truncated image" in refused(made)


def test_a_codestream_larger_than_its_header_is_refused_before_its_decoder(
    dicom_image: Make, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for syntax in (JPEG_2000, JPEG_LS):
        made = dicom_image(np.zeros((128, 96), np.uint8), "CR", syntax)
        made.Rows, made.Columns = 64, 48
        assert "codestream of 64 x 48 pixels; found 128 x 96" in refused(made)
    long = dicom_image(GRAY, "CR", RLE)
    long.PixelData = encapsulate([bytes(64) + b"\x81\x00" * 8192])
    assert "RLE no longer than its pixels" in refused(long)


def test_codestreams_tell_their_size() -> None:
    assert codestream_hw(b"") is None
    assert codestream_hw(b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x10\x00\x20\x03") == (16, 32)
    assert codestream_hw(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xf7\x00\x0b\x08\x00\x10\x00\x20\x01") == (16, 32)
    assert codestream_hw(b"\xff\xd8\xff\xda\x00\x02garbage") is None
    assert codestream_hw(b"\xff\xd8\x00\xc0\x00\x11\x08\x00\x10\x00\x20\x03") is None
    assert codestream_hw(b"\xff\x4f\xff\x51\x00\x00") is None


def test_a_deflated_bomb_is_stopped_at_the_limit(
    tmp_path: Path, dicom_image: Make, save_dicom: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse, "MAX_INFLATED_BYTES", 2**20)
    path = save_dicom(dicom_image(GRAY, "CR", DEFLATED), tmp_path / "a.dcm")
    data = path.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    path.write_bytes(data[:start] + packer.compress(bytes(2**22)) + packer.flush())
    with pytest.raises(DicomError, match="expands beyond that"):
        read_series(path)


def test_a_video_is_refused_by_the_name_of_its_syntax(dicom_image: Make, refused: Callable[..., str]) -> None:
    made = dicom_image(GRAY, "CINE", RLE)
    made.file_meta.TransferSyntaxUID = MPEG4
    assert "MPEG-4" in refused(made)


def test_a_missing_decoder_is_named(
    tmp_path: Path, dicom_image: Make, save_dicom: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = read_series(save_dicom(dicom_image(GRAY, "CR", JPEG_2000), tmp_path / "a.dcm"))
    monkeypatch.setitem(frames.DECODERS, JPEG_2000, ("absent", "pylibjpeg-openjpeg"))
    with pytest.raises(MissingExtraError, match="pylibjpeg-openjpeg, which decodes JPEG 2000"):
        series.values(0)


def test_decoders_that_must_not_be_used_are_not(dicom_image: Make) -> None:
    assert {plugin for plugin, _ in frames.DECODERS.values()} == {"pylibjpeg", "pydicom"}
    assert frames.DECODERS[RLE][0] == "pydicom"


def test_nested_sequences_do_not_overflow_the_stack(tmp_path: Path, dicom_image: Make, save_dicom: Save) -> None:
    head = save_dicom(dicom_image(GRAY, "CR"), tmp_path / "a.dcm").read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")
    item = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    (tmp_path / "deep.dcm").write_bytes(head[:start] + item * 10_000)
    with pytest.raises(DicomError):
        read_series(tmp_path / "deep.dcm")


def test_what_a_package_says_of_a_value_is_not_repeated(tmp_path: Path, dicom_image: Make, save_dicom: Save) -> None:
    path = save_dicom(dicom_image(GRAY, "CR"), tmp_path / "a.dcm")
    with pytest.raises(DicomError) as caught, parse.guarded("reading", path):
        raise ValueError("DOE^JOHN is no UID")
    assert "DOE" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
