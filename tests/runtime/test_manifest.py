import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from medsam_edge.runtime import manifest as module
from medsam_edge.runtime.errors import BundleError
from medsam_edge.runtime.manifest import (
    MAX_BYTES,
    SCHEMA,
    FileEntry,
    GraphEntry,
    Manifest,
    Model,
    PartSpec,
    TensorSpec,
    WeightsEntry,
    canonical,
    encode,
    parse,
    seal,
)

SHA = "ab" * 32
Change = Callable[[dict[str, Any]], object]


def a_manifest() -> Manifest:
    boxes = TensorSpec("boxes", "float32", ("N", 4))
    return seal(
        Manifest(
            schema=SCHEMA,
            toolkit_version="0.1.0",
            created="2030-01-02T03:04:05+00:00",
            model=Model("médsam", "tiny_vit", {"depth": [2, 2], "scale": 1e-05}, SHA, True, "lite.pth", SHA),
            profile={"name": "litemedsam", "side": 256},
            pipeline=("decoder",),
            embedding_size=64,
            parts=(PartSpec("decoder", (boxes,), ()),),
            graphs=(GraphEntry("decoder", "fp32", "bias", ("cpu",), f"graphs/{SHA}.onnx", SHA, 12),),
            golden=(FileEntry("ct-1", f"golden/{SHA}.npz", SHA, 3),),
            records=(FileEntry("parity", f"records/{SHA}.json", SHA, 2),),
            digest="",
        )
    )


def resealed(change: Change) -> bytes:
    """A manifest that its maker changed before giving it a fitting digest."""
    data = json.loads(encode(a_manifest()))
    change(data)
    data["digest"] = hashlib.sha256(canonical(data)).hexdigest()
    return json.dumps(data).encode()


def test_a_sealed_manifest_is_read_back() -> None:
    assert parse(encode(a_manifest())) == a_manifest()


def test_the_digest_is_that_of_the_canonical_form() -> None:
    body = {key: value for key, value in json.loads(encode(a_manifest())).items() if key != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert a_manifest().digest == hashlib.sha256(text.encode()).hexdigest()


def test_another_layout_of_the_same_json_is_the_same_manifest() -> None:
    assert parse(resealed(lambda data: None)) == a_manifest()


def test_sealing_again_changes_nothing() -> None:
    assert seal(a_manifest()) == a_manifest()


def test_the_schema_comes_first_in_the_file() -> None:
    assert encode(a_manifest()).startswith(b'{\n  "schema": "medsam-edge/bundle/1"')


def test_the_files_of_a_manifest() -> None:
    assert a_manifest().files() == {f"graphs/{SHA}.onnx", f"golden/{SHA}.npz", f"records/{SHA}.json"}


@pytest.mark.parametrize("field", ["toolkit_version", "created", "embedding_size", "profile", "model", "graphs"])
def test_a_changed_field_no_longer_fits_the_digest(field: str) -> None:
    data = json.loads(encode(a_manifest()))
    data[field] = data["pipeline"]
    with pytest.raises(BundleError, match="the manifest was altered"):
        parse(json.dumps(data).encode())


@pytest.mark.parametrize("version", ["2", "1.1", ""])
def test_a_newer_schema_asks_for_an_upgrade(version: str) -> None:
    data = resealed(lambda data: data.update(schema=f"medsam-edge/bundle/{version}", news=1))
    with pytest.raises(BundleError, match=r"bundle/1, which medsam-edge [\d.]+ reads.*upgrade medsam-edge"):
        parse(data)


@pytest.mark.parametrize("schema", [None, 1, "other/1", ["medsam-edge/bundle/1"]])
def test_the_manifest_of_something_else_is_refused(schema: object) -> None:
    with pytest.raises(BundleError, match="check that this is the manifest of a bundle"):
        parse(resealed(lambda data: data.update(schema=schema)))


@pytest.mark.parametrize(
    "file",
    [
        f"graphs/../graphs/{SHA}.onnx",
        f"/graphs/{SHA}.onnx",
        f"./graphs/{SHA}.onnx",
        f"graphs//{SHA}.onnx",
        f"graphs/{SHA}.onnx/",
        f"graphs/{SHA}.onnx\n",
        f"graphs\\{SHA}.onnx",
        f"graphs/{SHA.upper()}.onnx",
        f"graphs/{'0' * 64}.onnx",
        f"golden/{SHA}.onnx",
        f"graphs/{SHA}.npz",
        "../../etc/passwd",
        "",
    ],
)
def test_a_file_is_named_by_its_hash_and_no_other_way(file: str) -> None:
    with pytest.raises(BundleError, match=r"manifest\.graphs\[0\]\.file"):
        parse(resealed(lambda data: data["graphs"][0].update(file=file)))


@pytest.mark.parametrize("sha256", ["../../x", SHA.upper(), SHA[:-1], SHA + "\n", ""])
def test_a_hash_is_64_hexadecimal_digits(sha256: str) -> None:
    entry = {"sha256": sha256, "file": f"graphs/{sha256}.onnx"}
    with pytest.raises(BundleError, match=r"manifest\.graphs\[0\]\.sha256"):
        parse(resealed(lambda data: data["graphs"][0].update(entry)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["graphs"][0].update(bytes=-1), r"graphs\[0\]\.bytes of zero or more"),
        (lambda data: data["graphs"].append(data["graphs"][0]), "each graph once"),
        (lambda data: data["golden"].append(data["golden"][0]), "each golden case once"),
        (lambda data: data["records"].append(data["records"][0]), "each record once"),
        (lambda data: data["parts"].append(data["parts"][0]), "each part once"),
        (lambda data: data.update(pipeline=["encoder"]), "one of the parts decoder; found 'encoder'"),
        (lambda data: data["graphs"][0].update(part="memory"), "one of the parts decoder; found 'memory'"),
        (lambda data: data.update(extra=1), "found 'extra' too"),
        (lambda data: data.pop("records"), "manifest.records; found no such key"),
    ],
)
def test_a_consistent_lie_is_refused_too(change: Change, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse(resealed(change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe{}",
        encode(a_manifest()).decode().encode("utf-16"),
        b'\xef\xbb\xbf{"schema": 1}',
        b'{"schema": ' + b"9" * 5000 + b"}",
        b'{"schema": "medsam-edge/bundle/1", "x": "\\ud800"}',
        b'{"schema": "medsam-edge/bundle/1", "x": 1e999}',
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse(data)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_calls_json_is_refused(constant: str) -> None:
    with pytest.raises(BundleError, match=f"a manifest in JSON; found the constant {constant}"):
        parse(b'{"schema": %s}' % constant.encode())


def test_two_targets_may_have_int8_graphs_of_one_form() -> None:
    def calibrated(data: dict[str, Any]) -> None:
        for target in ("openvino", "onnxruntime"):
            data["graphs"].append({**data["graphs"][0], "precision": "int8", "targets": [target]})

    assert [graph.precision for graph in parse(resealed(calibrated)).graphs].count("int8") == 2


def test_a_key_given_twice_is_refused() -> None:
    data = encode(a_manifest()).replace(b'"side": 256', b'"side": 256, "side": 256')
    with pytest.raises(BundleError, match="a key twice"):
        parse(data)


def test_a_nesting_bomb_is_refused() -> None:
    for bomb in (b"[" * 200_000, b'{"a":' * 200_000, b'{"schema":' + b"[" * 900 + b"]" * 900 + b"}"):
        with pytest.raises(BundleError):
            parse(bomb)


def test_a_deep_profile_is_refused_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(*args: object) -> None:
        raise RecursionError

    monkeypatch.setattr(module, "from_json", deep)
    with pytest.raises(BundleError, match="nested hundreds of levels deep"):
        parse(encode(a_manifest()))


def test_a_manifest_beyond_the_limit_is_not_even_decoded() -> None:
    with pytest.raises(BundleError, match="at most 4194304 bytes"):
        parse(b" " * (MAX_BYTES + 1))


def test_a_manifest_with_nan_cannot_be_sealed() -> None:
    with pytest.raises(BundleError, match=r"manifest\.profile\.std"):
        seal(replace(a_manifest(), profile={"std": float("nan")}))


def test_a_manifest_with_a_lone_surrogate_cannot_be_sealed() -> None:
    with pytest.raises(BundleError, match="a manifest that JSON can hold"):
        seal(replace(a_manifest(), created="\ud800"))


def with_weights(**changes: object) -> Change:
    """A change that lists weights for the graph."""
    entry = {"file": f"graphs/{SHA}.bin", "sha256": SHA, "bytes": 3, **changes}
    return lambda data: data["graphs"][0].update(weights=[entry])


def test_weights_beside_a_graph_are_listed_and_count_as_files() -> None:
    manifest = parse(resealed(with_weights()))
    assert manifest.graphs[0].weights == (WeightsEntry(f"graphs/{SHA}.bin", SHA, 3),)
    assert f"graphs/{SHA}.bin" in manifest.files()
    assert parse(encode(manifest)) == seal(manifest) == manifest


def test_a_manifest_without_such_weights_says_nothing_of_them() -> None:
    assert b"weights" not in encode(a_manifest()).replace(b"weights_sha256", b"")
    assert a_manifest().digest == "737ab00b13e604c06c86fdee2ce808a32cc458336fe77d5b247b4a8d6cbbd352"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": f"graphs/{SHA}.onnx"}, r"graphs\[0\]\.weights\[0\]\.file to be"),
        ({"file": f"../graphs/{SHA}.bin"}, r"weights\[0\]\.file to be"),
        ({"file": "/etc/passwd"}, r"weights\[0\]\.file to be"),
        ({"sha256": "../x"}, r"weights\[0\]\.sha256 in 64"),
        ({"bytes": -1}, r"weights\[0\]\.bytes of zero or more"),
        ({"name": "w"}, "found 'name' too"),
    ],
)
def test_weights_are_named_by_their_hash_and_no_other_way(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse(resealed(with_weights(**changes)))


def test_weights_listed_twice_or_as_nothing_are_refused() -> None:
    def twice(data: dict[str, Any]) -> None:
        with_weights()(data)
        data["graphs"][0]["weights"] *= 2

    with pytest.raises(BundleError, match="each file of weights once"):
        parse(resealed(twice))
    with pytest.raises(BundleError, match=r"no key manifest\.graphs\[0\]\.weights"):
        parse(resealed(lambda data: data["graphs"][0].update(weights=[])))
