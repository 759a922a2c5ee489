import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from medsam_edge.runtime.arrays import ArrayArchive, ArrayHeader, read_npy
from medsam_edge.runtime.errors import UsageError

PIXELS = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def accept(header: ArrayHeader) -> None:
    """Take everything."""


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def promise(shape: tuple[int, ...]) -> bytes:
    """A .npy header without its data."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def archive(compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in members.items():
            made.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def read(data: bytes) -> np.ndarray:
    """Read a .npy file, or the array `a` of an archive."""
    stream = io.BytesIO(data)
    return ArrayArchive(stream).read("a", accept) if data[:2] == b"PK" else read_npy(stream, accept)


@pytest.mark.parametrize(
    "array",
    [PIXELS, np.asfortranarray(PIXELS), PIXELS.astype(">f8"), np.array(3), np.zeros((0, 4)), PIXELS > 3],
    ids=["C", "Fortran", "big-endian", "scalar", "empty", "bool"],
)
def test_an_array_arrives_exactly(array: np.ndarray) -> None:
    for data in (npy(array), archive(a=npy(array)), archive(zipfile.ZIP_STORED, a=npy(array))):
        arrived = read(data)
        assert arrived.dtype == array.dtype
        np.testing.assert_array_equal(arrived, array)


def test_the_arrays_of_an_archive_are_listed() -> None:
    assert ArrayArchive(io.BytesIO(archive(a=b"", b=b""))).names == ["a", "b"]


def locked() -> bytes:
    data = bytearray(archive(a=npy(PIXELS)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def offset_beyond_everything() -> bytes:
    """A central directory whose zip64 field puts the member at byte 2**64 - 1."""
    name, data = b"a.npy", npy(PIXELS)
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    sizes = struct.pack("<III", zlib.crc32(data), len(data), len(data))
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 45, 0, 0, 0, 0) + sizes + struct.pack("<HH", len(name), 0) + name
    rest = struct.pack("<HHHHHII", len(name), len(extra), 0, 0, 0, 0, 2**32 - 1)
    central = b"PK\x01\x02" + struct.pack("<HHHHHH", 45, 45, 0, 0, 0, 0) + sizes + rest + name + extra
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    return local + data + central + end


HOSTILE = {
    "an offset beyond everything": (offset_beyond_everything(), "too large"),
    "objects": (npy(np.array([{}, None])), "pickled Python objects"),
    "objects in an archive": (archive(a=npy(np.array([{}, None]))), "pickled Python objects"),
    "objects in a structure": (npy(np.zeros(2, [("f", "O")])), "pickled Python objects"),
    "newer version": (npy(PIXELS).replace(b"NUMPY\x01", b"NUMPY\x03"), "another version"),
    "operators without end": (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 9000, "damaged header"),
    "brackets without end": (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "damaged header"),
    "code": (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9) + b"exit(3)  ", "damaged header"),
    "overlong header": (b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b" " * 60_000, "damaged header"),
    "negative size": (promise((-1,)) + bytes(9), "damaged header"),
    "less than promised": (promise((100, 100)) + bytes(50), "only 50"),
    "more than promised": (promise((10, 10)) + bytes(101), "more"),
    "no such array": (archive(b=npy(PIXELS)), "found `b`"),
    "no array at all": (archive(), "no array"),
    "locked": (locked(), "encrypted"),
    "odd compression": (archive(zipfile.ZIP_LZMA, a=npy(PIXELS)), "compression method 14"),
    "empty member": (archive(a=b""), "damaged header"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_damaged_file_is_refused(name: str) -> None:
    data, found = HOSTILE[name]
    with pytest.raises(UsageError) as caught:
        read(data)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_not_unpacked_beyond_its_promise() -> None:
    bomb = archive(a=promise((10, 10)) + bytes(8_000_000))
    tracemalloc.start()
    with pytest.raises(UsageError, match="more"):
        read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_nothing_is_read_of_an_array_that_is_not_accepted() -> None:
    class RefusedError(Exception):
        pass

    def refuse(header: ArrayHeader) -> None:
        assert header.shape == (30_000, 30_000)
        raise RefusedError

    stream = io.BytesIO(promise((30_000, 30_000)) + bytes(10))
    with pytest.raises(RefusedError):
        read_npy(stream, refuse)
    assert stream.read() == bytes(10)


@pytest.mark.parametrize("data", [npy(PIXELS), archive(a=npy(PIXELS))], ids=["npy", "npz"])
def test_every_single_damaged_byte_is_refused_or_harmless(data: bytes) -> None:
    for position in range(len(data)):
        damaged = data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]
        try:
            read(damaged)
        except UsageError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
