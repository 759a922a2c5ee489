import io
import pickle
import struct
import threading
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.arrays import ArrayHeader
from medsam_edge.runtime.errors import ExitCode, ImageError, MedSAMEdgeError, StorageError
from medsam_edge.runtime.images import read_image
from medsam_edge.runtime.pixels import MAX_PIXELS, MAX_SIDE, accept_pixels

GRAY = (np.arange(40 * 30).reshape(40, 30) % 251).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)
WINDOWED = "window it to 8 bit first"


def png_header(width: int, height: int, depth: int = 8, kind: int = 0) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def npy_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def encoded(array: np.ndarray | PIL.Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = array if isinstance(array, PIL.Image.Image) else PIL.Image.fromarray(array)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refused(path: Path, error: type[MedSAMEdgeError], *words: str) -> None:
    with pytest.raises(error) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    for word in words:
        assert word in message
    expected = ExitCode.USAGE if error is ImageError else ExitCode.ENVIRONMENT
    assert caught.value.exit_code is expected


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


LOSSLESS = {
    "rgb.png": (encoded(RGB, "PNG"), RGB),
    "rgb.tif": (encoded(RGB, "TIFF"), RGB),
    "lzw.TIFF": (encoded(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "rgb.npy": (npy(RGB), RGB),
    "fortran.npy": (npy(np.asfortranarray(RGB)), RGB),
    "rgb.npz": (archive(imgs=npy(RGB)), RGB),
    "gray.png": (encoded(GRAY, "PNG"), np.stack([GRAY] * 3, axis=2)),
    "gray.tiff": (encoded(GRAY, "TIFF"), np.stack([GRAY] * 3, axis=2)),
    "gray.npz": (archive(imgs=npy(GRAY), boxes=npy(np.zeros((1, 4)))), np.stack([GRAY] * 3, axis=2)),
    "one-channel.npy": (npy(GRAY[..., None]), np.stack([GRAY] * 3, axis=2)),
    "one-bit.png": (
        encoded(PIL.Image.fromarray(GRAY > 99), "PNG"),
        np.stack([(GRAY > 99) * 255] * 3, axis=2),
    ),
    "one-bit.tif": (
        encoded(PIL.Image.fromarray(GRAY > 99), "TIFF"),
        np.stack([(GRAY > 99) * 255] * 3, axis=2),
    ),
    "a PNG with another suffix.jpg": (encoded(RGB, "PNG"), RGB),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_image_arrives_exactly(name: str, tmp_path: Path) -> None:
    data, pixels = LOSSLESS[name]
    image = read_image(written(tmp_path, name, data))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_arrives_as_pillow_decodes_it(mode: str, tmp_path: Path) -> None:
    data = encoded(PIL.Image.fromarray(RGB).convert(mode), "JPEG", quality=90)
    with PIL.Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(read_image(written(tmp_path, "image.jpeg", data)), expected)


def test_a_palette_becomes_its_colours_not_its_indices(tmp_path: Path) -> None:
    palette = PIL.Image.fromarray(GRAY % 4).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image = read_image(written(tmp_path, "palette.png", encoded(palette, "PNG")))
    np.testing.assert_array_equal(image[0, :4], [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]])


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("png", "PNG")])
def test_pixels_are_taken_as_stored_whatever_exif_says(suffix: str, kind: str, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[274] = 6
    assert read_image(written(tmp_path, f"a.{suffix}", encoded(RGB, kind, exif=exif))).shape == (40, 30, 3)


TRANSPARENT = {
    "alpha.png": (encoded(PIL.Image.fromarray(RGB).convert("RGBA"), "PNG"), "4 channels (RGBA)"),
    "gray-alpha.png": (encoded(PIL.Image.fromarray(GRAY).convert("LA"), "PNG"), "2 channels (LA)"),
    "alpha.tif": (encoded(PIL.Image.fromarray(RGB).convert("RGBA"), "TIFF"), "4 channels"),
    "cmyk.jpg": (encoded(PIL.Image.fromarray(RGB).convert("CMYK"), "JPEG"), "4 channels (CMYK)"),
    "cmyk.tif": (encoded(PIL.Image.fromarray(RGB).convert("CMYK"), "TIFF"), "4 channels"),
    "key.png": (encoded(RGB, "PNG", transparency=(1, 2, 3)), "transparent colours"),
    "palette.png": (
        encoded(PIL.Image.fromarray(GRAY).convert("P"), "PNG", transparency=3),
        "transparent colours",
    ),
    "two.npy": (npy(RGB[..., :2]), "2 channels"),
    "four.npz": (archive(imgs=npy(np.zeros((9, 9, 4), np.uint8))), "4 channels"),
    "five.npy": (npy(np.zeros((9, 9, 5), np.uint8)), "5 channels"),
}
DEEP = {
    "gray16.png": (encoded(GRAY.astype(np.uint16) * 200, "PNG"), "16 bits per channel"),
    "rgb16.png": (png_header(10, 10, depth=16, kind=2), "16 bits per channel"),
    "gray16.tif": (encoded(GRAY.astype(np.uint16), "TIFF"), "16-bit integers"),
    "int32.tif": (encoded(GRAY.astype(np.int32), "TIFF"), "32-bit signed integers"),
    "float.tif": (encoded(GRAY.astype(np.float32), "TIFF"), "32-bit floating point"),
    "int8.tif": (encoded(GRAY, "TIFF", tiffinfo={339: 2}), "8-bit signed integers"),
    "float header alone.npy": (npy_header((100, 100), "<f8"), "float64"),
    "int16.npy": (npy(GRAY.astype(np.int16)), "int16"),
    "uint16.npz": (archive(imgs=npy(RGB.astype(np.uint16))), "uint16"),
    "int32.npy": (npy(GRAY.astype(np.int32)), "int32"),
    "float32.npy": (npy(GRAY.astype(np.float32)), "float32"),
    "float64.npz": (archive(imgs=npy(np.full((5, 5), np.nan))), "float64"),
}
SHAPES = {
    "volume.npy": (npy(np.zeros((20, 30, 40), np.uint8)), "volume"),
    "volume.npz": (archive(imgs=npy(np.zeros((20, 30, 40), np.uint8))), "volumes are not supported"),
    "planes.npy": (npy(np.zeros((3, 30, 40), np.uint8)), "transpose"),
    "line.npy": (npy(np.zeros(30, np.uint8)), "(30,)"),
    "scalar.npy": (npy(np.array(7, np.uint8)), "()"),
    "batch.npy": (npy(np.zeros((1, 9, 9, 3), np.uint8)), "(1, 9, 9, 3)"),
    "empty.npy": (npy(np.zeros((0, 0), np.uint8)), "0 x 0"),
    "empty-rgb.npz": (archive(imgs=npy(np.zeros((5, 0, 3), np.uint8))), "5 x 0"),
    "pages.tif": (
        encoded(RGB, "TIFF", save_all=True, append_images=[PIL.Image.new("RGB", (3, 3))] * 2),
        "3 pages",
    ),
    "animated.png": (
        encoded(RGB, "PNG", save_all=True, append_images=[PIL.Image.new("RGB", (30, 40))]),
        "2 pages",
    ),
    "rotated.tif": (encoded(RGB, "TIFF", tiffinfo={274: 6}), "orientation 6"),
}
UNTRUSTED = {
    "text.png": (b"this is no picture", "b'this is "),
    "nothing.png": (b"", "an empty file"),
    "pickle.npy": (pickle.dumps(RGB), "a Python pickle"),
    "objects.npy": (npy(np.array([{}, None])), "pickled Python objects"),
    "lying.npz": (archive(imgs=npy_header((10, 10)) + bytes(5_000_000)), "more"),
    "bool.npy": (npy(GRAY > 9), "multiply it by 255"),
    "other.npz": (archive(image=npy(RGB)), "`image`"),
    "negative.npy": (npy_header((-1, 9)) + bytes(9), "(-1, 9)"),
    "unknown.dcm": (encoded(RGB, "PNG"), "“.dcm”"),
    "unknown.nii.gz": (b"", ".png, .jpg, .jpeg, .tif, .tiff, .npy, .npz"),
    "suffixless": (encoded(RGB, "PNG"), "no suffix"),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_more_channels_than_colour_are_refused(name: str, tmp_path: Path) -> None:
    data, found = TRANSPARENT[name]
    refused(written(tmp_path, name, data), ImageError, found, "a gray or RGB image")


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_are_refused_with_windowing_as_the_remedy(name: str, tmp_path: Path) -> None:
    data, found = DEEP[name]
    refused(written(tmp_path, name, data), ImageError, found, WINDOWED, "level 40, width 400")


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_not_one_picture_is_refused(name: str, tmp_path: Path) -> None:
    data, found = SHAPES[name]
    refused(written(tmp_path, name, data), ImageError, found)


@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_file_that_is_not_what_it_claims_is_refused(name: str, tmp_path: Path) -> None:
    data, found = UNTRUSTED[name]
    refused(written(tmp_path, name, data), ImageError, found)


HUGE = {
    "huge.png": png_header(30_000, 30_000),
    "huge and cut off.png": png_header(30_000, 30_000)[:45],
    "wide.png": png_header(MAX_SIDE + 1, 1),
    "huge.npy": npy_header((30_000, 30_000, 3)),
    "huge.npz": archive(imgs=npy_header((30_000, 30_000))),
    "area.npy": npy_header((8193, 8192)),
    "huge.tif": encoded(GRAY, "TIFF").replace(
        struct.pack("<HHII", 256, 4, 1, 30), struct.pack("<HHII", 256, 4, 1, 30_000)
    ),
    "tile.tif": encoded(GRAY, "TIFF").replace(
        struct.pack("<HHII", 278, 4, 1, 40), struct.pack("<HHII", 322, 4, 1, 40_000)
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_image_is_refused_by_its_header_at_no_cost(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, HUGE[name])
    tracemalloc.start()
    began = time.perf_counter()
    refused(path, ImageError, "at most 64 megapixels")
    took, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 1
    assert peak < 2**20


def test_the_largest_image_is_accepted() -> None:
    accept_pixels(ArrayHeader((MAX_PIXELS // MAX_SIDE, MAX_SIDE, 3), False, np.dtype(np.uint8)))


INTACT = {
    "a.png": encoded(RGB, "PNG"),
    "a.jpg": encoded(RGB, "JPEG"),
    "a.tif": encoded(RGB, "TIFF"),
    "lzw.tif": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "a.npy": npy(RGB),
    "a.npz": archive(imgs=npy(RGB)),
}


@pytest.mark.parametrize("name", INTACT)
def test_a_file_cut_off_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    data = INTACT[name]
    for length in sorted({1, 4, 8, 12, 20, 26, 33, 60, 130, len(data) // 3, len(data) // 2, len(data) - 9}):
        refused(written(tmp_path, name, data[:length]), ImageError)


@pytest.mark.parametrize("name", INTACT)
def test_a_damaged_file_is_refused_or_read_but_never_a_traceback(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for _ in range(40):
        data = bytearray(INTACT[name])
        data[random.integers(len(data))] ^= int(random.integers(1, 256))
        try:
            assert read_image(written(tmp_path, name, bytes(data))).dtype == np.uint8
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("name", ["a.png", "a.npz"])
def test_a_flipped_bit_in_checksummed_pixels_is_noticed(name: str, tmp_path: Path) -> None:
    data = bytearray(INTACT[name])
    data[len(data) // 2] ^= 1
    refused(written(tmp_path, name, bytes(data)), ImageError)


def test_a_missing_file_and_a_folder_are_storage_errors(tmp_path: Path) -> None:
    refused(tmp_path / "absent.png", StorageError, "No such file")
    refused(tmp_path, StorageError, "a folder")


def test_a_file_without_permission_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, "secret.png", INTACT["a.png"])
    monkeypatch.setattr("builtins.open", denied)
    refused(path, StorageError, "Permission denied", "permission")


def test_pillow_is_left_as_it_was_and_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    limit = PIL.Image.MAX_IMAGE_PIXELS
    paths = [written(tmp_path, f"{i}.png", encoded(np.full((64, 64), i, np.uint8), "PNG")) for i in range(8)]
    seen: dict[int, bool] = {}

    def read(i: int) -> None:
        seen[i] = all(bool((read_image(paths[i]) == i).all()) for _ in range(10))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == dict.fromkeys(range(8), True)
    assert limit == PIL.Image.MAX_IMAGE_PIXELS
