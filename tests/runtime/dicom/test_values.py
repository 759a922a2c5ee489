"""What stored pixels mean: modality, padding, photometric interpretation, windows, and every transfer syntax."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
from medsam_edge.runtime.dicom.reading import read_series
from medsam_edge.runtime.dicom.voi import image_of, parse_dicom_window
from medsam_edge.runtime.errors import ImageError, UsageError
from medsam_edge.runtime.types import AnyArray
from medsam_edge.runtime.windows import apply_window, parse_window
from pydicom import FileDataset
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space

Save = Callable[[FileDataset, Path], Path]
Make = Callable[..., FileDataset]
GRAY = np.random.default_rng(3).integers(0, 256, (40, 56), np.uint8)
DEEP = np.random.default_rng(4).integers(0, 4096, (40, 56)).astype(np.uint16)
RGB = np.random.default_rng(5).integers(0, 256, (40, 56, 3), np.uint8)
RLE, JPEG_LS, JPEG_2000, JPEG = (
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.50",
)
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", RLE, JPEG_LS, JPEG_2000]


@pytest.fixture
def values(tmp_path: Path, save_dicom: Save) -> Callable[[FileDataset], AnyArray]:
    return lambda made: read_series(save_dicom(made, tmp_path / "a.dcm")).values(0)


@pytest.fixture
def shown(tmp_path: Path, save_dicom: Save) -> Callable[..., AnyArray]:
    def read(made: FileDataset, window: str | None = None) -> AnyArray:
        chosen = None if window is None else parse_dicom_window(window)
        return image_of(read_series(save_dicom(made, tmp_path / "a.dcm")), 0, chosen)[0]

    return read


def item(**attributes: object) -> list[Dataset]:
    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return [made]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("pixels", [GRAY, DEEP, RGB], ids=["gray", "deep", "rgb"])
def test_every_lossless_transfer_syntax_gives_the_same_pixels(
    dicom_image: Make, values: Callable[..., AnyArray], syntax: str, pixels: AnyArray
) -> None:
    np.testing.assert_array_equal(values(dicom_image(pixels, "CR", syntax)), pixels)


@pytest.mark.parametrize("syntax", [RLE, JPEG_2000])
def test_frames_of_a_compressed_cine_are_found(
    tmp_path: Path, dicom_image: Make, save_dicom: Save, syntax: str
) -> None:
    frames = np.random.default_rng(6).integers(0, 256, (5, 40, 56), np.uint8)
    path = save_dicom(dicom_image(frames, "CINE", syntax, NumberOfFrames=5), tmp_path / "a.dcm")
    series = read_series(path)
    for index in (4, 0, 2):
        np.testing.assert_array_equal(series.values(index), frames[index])


def test_big_endian_pixels_are_read(tmp_path: Path, dicom_image: Make) -> None:
    made = dicom_image(DEEP, "CR")
    made.PixelData = DEEP.astype(">u2").tobytes()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "a.dcm", made, enforce_file_format=True)
    np.testing.assert_array_equal(read_series(tmp_path / "a.dcm").values(0), DEEP)


def test_a_jpeg_of_ybr_comes_as_the_rgb_that_pillow_sees(dicom_image: Make, values: Callable[..., AnyArray]) -> None:
    smooth = np.stack([np.add.outer(np.arange(16), np.arange(24)) * step for step in (1, 3, 5)], axis=2)
    buffer = io.BytesIO()
    PIL.Image.fromarray(smooth.astype(np.uint8)).save(buffer, "JPEG", quality=95, subsampling=0)
    made = dicom_image(smooth.astype(np.uint8), "US", PhotometricInterpretation="YBR_FULL_422")
    made.PixelData = encapsulate([buffer.getvalue()])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEG
    expected = np.asarray(PIL.Image.open(buffer)).astype(int)
    assert np.abs(values(made).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_becomes_rgb(dicom_image: Make, values: Callable[..., AnyArray], planar: int) -> None:
    ybr = convert_color_space(RGB, "RGB", "YBR_FULL")
    made = dicom_image(ybr, "US", PhotometricInterpretation="YBR_FULL", PlanarConfiguration=planar)
    if planar:
        made.PixelData = ybr.transpose(2, 0, 1).tobytes()
    assert np.abs(values(made).astype(int) - RGB).max() <= 2


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_becomes_rgb(dicom_image: Make, values: Callable[..., AnyArray], bits: int) -> None:
    table = np.random.default_rng(7).integers(0, 256, (256, 3), np.uint8)
    palette: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        entries = table[:, channel] if bits == 8 else table[:, channel].astype(np.uint16) << 8
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        palette[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    np.testing.assert_array_equal(values(dicom_image(GRAY, "US", **palette)), table[GRAY])


def test_rescale_and_signed_values_of_twelve_bits(dicom_image: Make, values: Callable[..., AnyArray]) -> None:
    signed = (DEEP.astype(np.int16) - 2048).astype(np.int16)
    made = dicom_image(signed, "CR", BitsStored=12, HighBit=11, RescaleSlope="2", RescaleIntercept="-1000")
    found = values(made)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, signed.astype(int) * 2 - 1000)
    made.RescaleSlope = "0.5"
    np.testing.assert_array_equal(values(made), signed * 0.5 - 1000)


def test_a_modality_table_stands_in_for_the_rescale(dicom_image: Make, values: Callable[..., AnyArray]) -> None:
    table = np.arange(100, 356, dtype=np.uint16)[::-1]
    lut = item(LUTDescriptor=[256, 0, 16], LUTData=table.tobytes(), ModalityLUTType="US")
    lut[0]["LUTData"].VR = "OW"
    np.testing.assert_array_equal(values(dicom_image(GRAY, "CR", ModalityLUTSequence=lut)), table[GRAY])


def test_padding_takes_the_lowest_value_of_the_rest(dicom_image: Make, values: Callable[..., AnyArray]) -> None:
    padded = np.where(np.arange(56) < 3, 63536, DEEP).astype(np.uint16).view(np.int16)
    rest = padded[:, 3:].min()
    found = values(dicom_image(padded, "CR", PixelPaddingValue=-2000, RescaleSlope="1", RescaleIntercept="-1024"))
    assert (found[:, :3] == int(rest) - 1024).all()
    np.testing.assert_array_equal(found[:, 3:], padded[:, 3:].astype(int) - 1024)


def test_monochrome1_is_inverted_once_after_the_window(dicom_image: Make, shown: Callable[..., AnyArray]) -> None:
    plain = shown(dicom_image(DEEP, "CR"), "2000,3000")
    dark = shown(
        dicom_image(DEEP, "CR", PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"), "2000,3000"
    )
    np.testing.assert_array_equal(dark, 255 - plain)
    np.testing.assert_array_equal(
        shown(dicom_image(GRAY, "CR", PhotometricInterpretation="MONOCHROME1"))[..., 0], 255 - GRAY
    )
    np.testing.assert_array_equal(shown(dicom_image(GRAY, "CR"))[..., 0], GRAY)


WINDOWS = {
    "WindowCenter": ["1000", "3000"],
    "WindowWidth": ["501", "801"],
    "WindowCenterWidthExplanation": ["A", "BONE"],
}


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("header", (749.5, 1249.5)),
        ("header:2", (2599.5, 3399.5)),
        ("header:bone", (2599.5, 3399.5)),
        ("1000,500", (750, 1250)),
    ],
)
def test_windows_of_the_header_are_named_by_number_or_name(
    dicom_image: Make, shown: Callable[..., AnyArray], text: str, bounds: tuple[float, float]
) -> None:
    found = shown(dicom_image(DEEP, "CR", **WINDOWS), text)
    center, width = sum(bounds) / 2, bounds[1] - bounds[0]
    np.testing.assert_array_equal(found, apply_window(parse_window(f"{center},{width}"), DEEP.astype(np.int32))[0])


def test_sigmoid_and_tables_curve(dicom_image: Make, shown: Callable[..., AnyArray]) -> None:
    sigmoid = dicom_image(DEEP, "CR", WindowCenter="2000", WindowWidth="800", VOILUTFunction="SIGMOID")
    curve = 1 / (1 + np.exp(-4 * (DEEP.astype(float) - 2000) / 800))
    wide = (curve - curve.min()) / (curve.max() - curve.min()) * 255
    assert np.abs(shown(sigmoid, "header")[..., 0] - wide).max() <= 1
    table = (np.arange(4096, dtype=np.uint32) ** 2 // 256).astype(np.uint16)
    lut = item(LUTDescriptor=[4096, 0, 16], LUTData=table.tobytes())
    lut[0]["LUTData"].VR = "OW"
    curved = table[DEEP].astype(float)
    spread = (curved - curved.min()) / (curved.max() - curved.min()) * 255
    assert np.abs(shown(dicom_image(DEEP, "CR", VOILUTSequence=lut), "header")[..., 0] - spread).max() <= 1


def test_deep_gray_wants_a_window_and_is_told_which_there_are(
    dicom_image: Make, shown: Callable[..., AnyArray]
) -> None:
    with pytest.raises(ImageError) as caught:
        shown(dicom_image(DEEP, "CR", **WINDOWS))
    assert "header (it has 1: 1000,501; 2: 3000,801)" in caught.value.remedy
    assert "BONE" not in str(caught.value)  # free text
    with pytest.raises(ImageError, match="rescaled"):
        shown(dicom_image(GRAY, "CR", RescaleSlope="2", RescaleIntercept="0"))
    with pytest.raises(ImageError, match="a colour image"):
        shown(dicom_image(RGB, "US"), "40,400")


@pytest.mark.parametrize("text", ["header:3", "header:0", "header:nose", "liver"])
def test_a_window_that_is_not_there_is_refused(dicom_image: Make, shown: Callable[..., AnyArray], text: str) -> None:
    with pytest.raises(UsageError):
        shown(dicom_image(DEEP, "CR", **WINDOWS), text)
    with pytest.raises(UsageError):
        shown(dicom_image(DEEP, "CR"), "header")
