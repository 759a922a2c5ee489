import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from medsam_edge.runtime.errors import ImageError
from medsam_edge.runtime.images import read_image
from medsam_edge.runtime.labels import read_labels
from medsam_edge.runtime.tiff import check_samples

GRAY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)


def tiff(channels: int, extra: int = 0, planar: bool = False, big: bool = False, order: str = "<") -> bytes:
    """A TIFF of `channels` channels of which all but one or three are marked `extra`."""
    stream, pixels = io.BytesIO(), np.stack([GRAY] * channels, axis=0 if planar else 2)
    base = 3 if channels >= 3 else 1
    with tifffile.TiffWriter(stream, bigtiff=big, byteorder=order) as writer:  # type: ignore[arg-type]
        writer.write(
            pixels if channels > 1 else GRAY,
            photometric="rgb" if base == 3 else "minisblack",
            planarconfig=None if channels == 1 else "separate" if planar else "contig",
            extrasamples=(extra,) * (channels - base) or None,
        )
    return stream.getvalue()


@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_extra_channels_are_refused_and_counted(tmp_path: Path, channels: int, extra: int, planar: bool) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(channels, extra, planar))
    for read in (read_image, read_labels):
        with pytest.raises(ImageError, match=f"found {channels} channels"):
            read(path)


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<")])
@pytest.mark.parametrize("channels", [1, 3])
def test_gray_and_rgb_pass_in_every_kind_of_header(tmp_path: Path, channels: int, big: bool, order: str) -> None:
    data = tiff(channels, big=big, order=order)
    stream = io.BytesIO(data)
    check_samples(stream)
    assert stream.tell() == 0
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), np.stack([GRAY] * 3, axis=2))


def test_gray_without_the_tag_has_one_channel() -> None:
    data = tiff(1)
    tag = (277).to_bytes(2, "little") + (3).to_bytes(2, "little")
    assert data.count(tag) == 1
    check_samples(io.BytesIO(data.replace(tag, (65000).to_bytes(2, "little") + tag[2:])))


@pytest.mark.parametrize("cut", [3, 9, 40])
def test_a_cut_header_is_damage_not_a_traceback(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(3)[:cut])
    for read in (read_image, read_labels):
        with pytest.raises(ImageError):
            read(path)


def test_a_label_map_that_asks_to_be_turned_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY, extratags=[(274, "H", 1, 3, True)])
    for read in (read_image, read_labels):
        with pytest.raises(ImageError, match="orientation 3"):
            read(path)


def test_a_label_map_of_giant_tiles_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY, tile=(16, 16))
    width = struct.pack("<HHII", 322, 4, 1, 16)
    data = path.read_bytes()
    assert data.count(width) == 1
    path.write_bytes(data.replace(width, struct.pack("<HHII", 322, 4, 1, 65520)))
    for read in (read_image, read_labels):
        with pytest.raises(ImageError, match="65520"):
            read(path)
