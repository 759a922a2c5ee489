import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.errors import ImageError, StorageError
from medsam_edge.runtime.raw_images import read_raw
from medsam_edge.runtime.types import AnyArray

WIDE = np.random.default_rng(0).integers(0, 65536, (23, 37)).astype(np.uint16)
WIDE[0, :2] = 0, 65535
SIGNED = (WIDE.astype(np.int32) - 32768).astype(np.int16)


def saved(folder: Path, name: str, array: AnyArray, **options: Any) -> Path:  # noqa: ANN401
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, array)
    elif options.pop("tifffile", False):
        pytest.importorskip("tifffile").imwrite(path, array, **options)
    else:
        PIL.Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "array", "options"),
    [
        ("a.png", WIDE, {}),
        ("a.tif", WIDE, {}),
        ("lzw.tif", WIDE, {"compression": "tiff_lzw"}),
        ("big endian.tif", WIDE, {"tifffile": True, "byteorder": ">"}),
        ("signed.tif", SIGNED, {"tifffile": True}),
        ("signed big endian.tif", SIGNED, {"tifffile": True, "byteorder": ">"}),
        ("int32.tif", SIGNED.astype(np.int32) * 70_000 // 33, {"tifffile": True}),
        ("float.tif", SIGNED.astype(np.float32) / 7, {"tifffile": True}),
        (
            "nan.tif",
            np.where(WIDE > 9, SIGNED / np.float32(7), np.float32(np.nan)).astype(np.float32),
            {"tifffile": True},
        ),
        ("int16.npy", SIGNED, {}),
        ("uint16.npy", WIDE, {}),
        ("float64.npy", SIGNED / 7, {}),
        ("float16.npy", (SIGNED / 9).astype(np.float16), {}),
        ("one channel.npy", SIGNED[:, :, None], {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_value_arrives_exactly_in_its_own_type(
    tmp_path: Path, name: str, array: AnyArray, options: dict[str, Any]
) -> None:
    found = read_raw(saved(tmp_path, name, array, **options))
    assert found.dtype.newbyteorder("=") == array.dtype
    np.testing.assert_array_equal(found, array.reshape(23, 37))


@pytest.mark.parametrize(
    ("name", "array", "options", "message"),
    [
        ("a.png", WIDE.astype(np.uint8), {}, "leave out --window"),
        ("a.tif", WIDE.astype(np.uint8), {}, "leave out --window"),
        ("a.npy", WIDE.astype(np.uint8), {}, "leave out --window"),
        ("bool.npy", WIDE > 9, {}, "leave out --window"),
        ("a.jpg", WIDE.astype(np.uint8), {}, "another kind of file"),
        ("rgb.npy", np.stack([WIDE] * 3, axis=2), {}, "a gray image"),
        ("volume.npy", np.stack([WIDE] * 9), {}, "a gray image"),
        ("complex.npy", WIDE * 1j, {}, "complex128"),
        ("empty.npy", WIDE[:0], {}, "0 x 37"),
        ("uint32.tif", WIDE.astype(np.uint32), {"tifffile": True}, "sample format 1"),
        ("float64.tif", WIDE.astype(np.float64), {"tifffile": True}, "64 bits"),
        ("inverted.tif", WIDE, {"tifffile": True, "photometric": "miniswhite"}, "shown inverted"),
        ("rgb.tif", np.stack([WIDE] * 3, axis=2), {"tifffile": True, "photometric": "rgb"}, "3 channels"),
        ("pages.tif", np.stack([WIDE] * 2), {"tifffile": True, "photometric": "minisblack"}, "2 pages"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_not_arrive_exactly_is_refused(
    tmp_path: Path, name: str, array: AnyArray, options: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, name, array, **options)
    with pytest.raises(ImageError, match=message) as caught:
        read_raw(path)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    whole = saved(tmp_path, name, WIDE).read_bytes()
    for length in (0, 5, 20, 40, 130, len(whole) // 2, len(whole) - 9):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(ImageError):
            read_raw(tmp_path / name)


def test_colour_png_of_16_bits_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(WIDE).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[25] = 2
    (tmp_path / "rgb.png").write_bytes(bytes(data))
    with pytest.raises(ImageError, match="colours or an alpha channel"):
        read_raw(tmp_path / "rgb.png")


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_raw(tmp_path / "none.npy")
