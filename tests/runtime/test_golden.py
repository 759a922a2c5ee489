import io
import zipfile
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import BundleError
from medsam_edge.runtime.golden import Golden, decode_golden, encode_golden


def a_golden(name: str = "ct-1", boxes: int = 3, side: tuple[int, int] = (9, 7), seed: int = 0) -> Golden:
    random = np.random.default_rng(seed)
    return Golden(
        id=name,
        modality="CT Schädel",
        image=random.integers(0, 256, (*side, 3), dtype=np.uint8),
        boxes=random.random((boxes, 4), dtype=np.float32),
        image_embedding=random.random((1, 2, 2, 2), dtype=np.float32),
        low_res_logits=random.standard_normal((boxes, 1, 8, 8), dtype=np.float32),
        iou_predictions=random.random((boxes, 1), dtype=np.float32),
        masks=random.random((boxes, *side)) > 0.5,
        reference=random.random((boxes, *side)) > 0.5,
    )


def assert_same(a: Golden, b: Golden) -> None:
    for field in fields(Golden):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right


@pytest.mark.parametrize("boxes", [0, 1, 3])
def test_a_golden_case_survives_the_way_through_npz(boxes: int) -> None:
    golden = a_golden(boxes=boxes)
    assert_same(decode_golden(encode_golden(golden)), golden)


def test_a_case_without_reference_stays_without() -> None:
    golden = replace(a_golden(), reference=None)
    assert decode_golden(encode_golden(golden)).reference is None


def test_equal_cases_give_equal_bytes_whatever_the_memory_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = a_golden()
    before = encode_golden(golden)
    monkeypatch.setattr("time.time", lambda: 2e9)
    turned = replace(golden, image=np.asfortranarray(golden.image), masks=np.asfortranarray(golden.masks))
    assert encode_golden(turned) == before


def test_another_case_gives_other_bytes() -> None:
    assert encode_golden(a_golden(seed=1)) != encode_golden(a_golden())


def test_the_bytes_hold_no_pickle_no_compression_and_no_date() -> None:
    with zipfile.ZipFile(io.BytesIO(encode_golden(a_golden()))) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.date_time[0] for member in archive.infolist()} == {1980}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", np.zeros((9, 7), np.uint8)),
        ("image", np.zeros((9, 7, 3), np.float32)),
        ("boxes", np.zeros((3, 4), np.float64)),
        ("boxes", np.zeros((3, 5), np.float32)),
        ("boxes", np.zeros(3, np.float32)),
        ("image_embedding", np.full((1, 2, 2, 2), np.nan, np.float32)),
        ("low_res_logits", np.zeros((2, 1, 8, 8), np.float32)),
        ("iou_predictions", np.zeros((3, 2), np.float32)),
        ("masks", np.zeros((3, 9, 7), np.uint8)),
        ("masks", np.zeros((3, 7, 9), bool)),
        ("reference", np.zeros((2, 9, 7), bool)),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(field: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(BundleError, match=f"{field} of golden case 'ct-1'"):
        encode_golden(replace(a_golden(), **{field: value}))


def npz(compression: int = zipfile.ZIP_STORED, **changes: bytes | None) -> bytes:
    """The archive of a golden case with members replaced or, where None, left out."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(encode_golden(a_golden()))) as source,
        zipfile.ZipFile(target, "w", compression) as archive,
    ):
        for member in source.namelist():
            data = changes.get(member.removesuffix(".npy"), source.read(member))
            if data is not None:
                archive.writestr(member, data)
    return target.getvalue()


def npy(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HUGE = b"\x93NUMPY\x01\x00v\x00" + b"{'descr':'|u1','fortran_order':False,'shape':(99999999999999,)}".ljust(117) + b"\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        encode_golden(a_golden())[:-30],
        npz(zipfile.ZIP_DEFLATED),
        npz(boxes=None),
        npz(id=b"raw bytes, no npy"),
        npz(id=npy(np.array([0xFF], np.uint8))),
        npz(boxes=npy(np.float32(1))),
        npz(image=npy(np.array([{"pickled": 1}], dtype=object))),
        npz(image=npy(np.zeros((9, 7, 4), np.uint8))),
        npz(image=HUGE),
        npz(image=header(b"{'descr': (")),
        npz(image=header(b"  {'descr': 1}\n {")),
        npz(masks_packed=npy(np.zeros(2, np.uint8))),
        npz(masks_packed=npy(np.zeros(24, np.int64))),
    ],
    ids=range(15),
)
def test_bytes_that_are_no_golden_case_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        decode_golden(data)


def test_any_damage_is_refused_or_harmless() -> None:
    data, random = encode_golden(a_golden()), np.random.default_rng(1)
    for position in random.integers(0, len(data), 300):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(random.integers(8))
        try:
            decode_golden(bytes(damaged))
        except BundleError:
            continue
