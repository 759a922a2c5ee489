"""ONNX files by hand, byte by byte: what the walk finds is held against the format and not against a library."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from medsam_edge.runtime import external_data as module
from medsam_edge.runtime.errors import BundleError, ExitCode
from medsam_edge.runtime.external_data import Place, check_external_data, places
from medsam_edge.runtime.manifest import WeightsEntry, weights_name

SHA = "ab" * 32
NAME = f"{SHA}.bin"
WEIGHTS = WeightsEntry(weights_name(SHA), SHA, 1000)
EXTERNAL = b"\x70\x01"  # data_location = EXTERNAL


def varint(value: int) -> bytes:
    head = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return head + (varint(value >> 7) if value > 0x7F else b"")


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def entry(key: str, value: str) -> bytes:
    return field(13, field(1, key.encode()) + field(2, value.encode()))


def tensor(location: str = NAME, offset: str = "0", length: str = "1000") -> bytes:
    return EXTERNAL + entry("location", location) + entry("offset", offset) + entry("length", length)


def model(*tensors: bytes) -> bytes:
    """A model of the initializers, with the fields around them that a real one has."""
    weights = b"".join(field(5, b"\x08\x03\x10\x01" + field(8, b"w") + one) for one in tensors)
    inside = b"\x08\x03\x10\x01" + field(8, b"small") + field(9, bytes(12))
    return b"\x08\x0a" + field(2, b"medsam-edge") + field(7, field(1, field(1, b"x")) + field(5, inside) + weights)


def refused(data: bytes, *weights: WeightsEntry) -> str:
    with pytest.raises(BundleError) as caught:
        check_external_data("graphs/it.onnx", data, weights)
    assert caught.value.exit_code == ExitCode.ARTEFACT
    return str(caught.value)


def test_a_graph_with_its_weights_inside_names_no_file() -> None:
    assert list(places(model())) == []
    check_external_data("graphs/it.onnx", model(), ())


def test_a_graph_names_exactly_the_files_that_are_listed() -> None:
    data = model(tensor(length="600"), tensor(offset="600", length="400"))
    assert sorted(places(data)) == [Place(NAME, 0, 600), Place(NAME, 600, 400)]
    check_external_data("graphs/it.onnx", data, [WEIGHTS])


@pytest.mark.parametrize(
    "location",
    [
        f"../graphs/{NAME}",
        f"./{NAME}",
        f"graphs/{NAME}",
        f"/{NAME}",
        f"{NAME}\0",
        f"{NAME}/",
        NAME.upper(),
        "../../../../etc/passwd",
        "/etc/passwd",
        "*/_ORT_MEM_ADDR_/*",
        "",
    ],
)
def test_no_other_spelling_of_a_place_is_let_through(location: str) -> None:
    assert "graphs/it.onnx to refer to no file but " + NAME in refused(model(tensor(location)), WEIGHTS)
    assert "no file but itself" in refused(model(tensor(location)))
    refused(model(tensor(), tensor(location)), WEIGHTS)


def test_listed_weights_that_nothing_uses_are_refused() -> None:
    assert NAME in refused(model(), WEIGHTS)
    assert NAME in refused(b"", WEIGHTS)


@pytest.mark.parametrize(("offset", "length"), [("0", "1001"), ("1000", "1"), ("999999999999999999", "0")])
def test_a_place_beyond_the_end_is_refused(offset: str, length: str) -> None:
    assert "within the 1000 bytes" in refused(model(tensor(offset=offset, length=length)), WEIGHTS)


@pytest.mark.parametrize(
    "stated",
    [
        tensor(offset="-1"),
        tensor(length="1e3"),
        tensor(length=""),
        tensor(length="9" * 19),
        tensor(length="9" * 5000),
        tensor(offset="٣"),
        EXTERNAL + entry("location", NAME),
        EXTERNAL + entry("location", NAME) + entry("location", "/etc/passwd") + entry("length", "1"),
        tensor() + entry("location", NAME),
        tensor() + entry("checksum", "0"),
        tensor() + field(13, b""),
        EXTERNAL + field(13, field(1, b"location") + field(2, b"\xff")),
    ],
)
def test_a_place_that_can_be_read_in_two_ways_is_refused(stated: bytes) -> None:
    assert "as medsam-edge writes it" in refused(model(stated), WEIGHTS)


def test_a_place_counts_whether_or_not_its_tensor_claims_to_lie_outside() -> None:
    """Two messages of one field are merged into one by a parser, so the claim may stand in the other."""
    for claim in (b"", b"\x70\x00"):
        stated = claim + tensor("/etc/passwd").removeprefix(EXTERNAL)
        assert "/etc/passwd" in refused(model(stated), WEIGHTS)


def routes() -> Iterator[Callable[[bytes], bytes]]:
    """Every way from a model to a tensor, read off ONNX's own description of its format."""
    onnx = pytest.importorskip("onnx")

    def ways(
        message: object, wrap: Callable[[bytes], bytes], seen: tuple[str, ...]
    ) -> Iterator[Callable[[bytes], bytes]]:
        if message.name == "TensorProto":  # type: ignore[attr-defined]
            yield wrap
            return
        for one in message.fields:  # type: ignore[attr-defined]
            if one.message_type is not None and one.message_type.name not in seen:
                number = one.number
                inner = lambda data, number=number: wrap(field(number, data))  # noqa: E731
                yield from ways(one.message_type, inner, (*seen, one.message_type.name))

    return ways(onnx.ModelProto.DESCRIPTOR, lambda data: data, ("ModelProto",))


def test_no_way_to_a_tensor_is_overlooked() -> None:
    found = [way(tensor()) for way in routes()]
    assert len(found) > 50
    for data in found:
        assert list(places(data)) == [Place(NAME, 0, 1000)]


def test_the_messages_are_onnxs_own() -> None:
    onnx = pytest.importorskip("onnx")
    known = {
        (message, number): getattr(onnx, f"{message}Proto").DESCRIPTOR.fields_by_number[number].message_type.name
        for message, leading in module._LEADING.items()
        for number in leading
    }
    assert known == {
        (message, number): f"{name}Proto"
        for message, leading in module._LEADING.items()
        for number, name in leading.items()
    }


@pytest.mark.parametrize(
    "hidden",
    [
        b"\x3b" + tensor("/etc/passwd") + b"\x3c",  # a group
        varint(1 << 32 | 7 << 3 | 2) + field(7, field(5, tensor("/etc/passwd")))[1:],  # a tag of more than 32 bits
        b"\x80" * 11 + field(7, field(5, tensor("/etc/passwd"))),
        varint(7 << 3 | 2) + varint(1 << 40) + field(5, tensor("/etc/passwd")),
        b"\x00\x01" + field(7, field(5, tensor("/etc/passwd"))),  # a field of the number 0
        b"\x3a\xff",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused_if_it_could_name_a_file(hidden: bytes) -> None:
    assert "as medsam-edge writes it" in refused(model(tensor()) + hidden, WEIGHTS)


def test_a_longer_spelling_of_a_number_changes_nothing() -> None:
    graph = field(5, tensor("/etc/passwd"))
    assert "/etc/passwd" in refused(b"\xba\x80\x00" + varint(len(graph)) + graph)


@pytest.mark.parametrize("data", [b"", b"no protobuf at all", b"\x3a\xff\xff", bytes(100)])
def test_what_is_no_graph_and_can_name_no_file_is_left_to_its_parser(data: bytes) -> None:
    check_external_data("graphs/it.onnx", data, ())


def test_a_graph_nested_a_thousand_times_is_walked_to_its_end() -> None:
    data = field(5, tensor("/etc/passwd"))
    for _ in range(1000):
        data = field(1, field(5, field(6, data)))
    assert "/etc/passwd" in refused(field(7, data))


def test_damage_is_an_error_of_ours_or_harmless() -> None:
    data, random = model(tensor(), tensor(offset="8", length="8")), np.random.default_rng(4)
    for _ in range(3000):
        damaged = bytearray(data)
        damaged[int(random.integers(len(data)))] = int(random.integers(256))
        try:
            check_external_data("graphs/it.onnx", bytes(damaged), [WEIGHTS])
        except BundleError:
            continue
        assert all(place.location == NAME for place in places(bytes(damaged)))
