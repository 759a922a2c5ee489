import json
from dataclasses import replace

import pytest
from medsam_edge.runtime.engines.census import Census, require_precision
from medsam_edge.runtime.engines.engine_file import EngineFacts, LayerShare, Port, header, split
from medsam_edge.runtime.engines.inspector import layers_from_json
from medsam_edge.runtime.errors import EngineError, ParityError

FACTS = EngineFacts(
    part="encoder",
    precision="fp16",
    buckets=(1,),
    ports=(Port("image", "uint8", (1, 3, 64, 64), True),),
    census=Census(10, {"fp16": 900, "fp32": 100}, 1000),
    activation_bytes=(2000,),
    device_memory_bytes=2048,
    weight_bytes=7,
    layers=LayerShare({"fp16": 3}, 1, "fused"),
    seconds=1.5,
    level=3,
    workspace_bytes=1 << 30,
    warnings=("größer",),
)


@pytest.mark.parametrize("plan", [b"", b"x" * 1000])
def test_an_engine_and_its_facts_come_back(plan: bytes) -> None:
    start = header(FACTS)
    found, rest = split(memoryview(start + plan))
    assert (found, bytes(rest), len(start) % 64) == (FACTS, plan, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"an ONNX graph",
        header(FACTS)[:40],
        header(FACTS)[:21] + b"\xff" * 8 + header(FACTS)[29:],
        header(FACTS).replace(b'"part"', b'"pant"'),
        header(FACTS).replace(b"engine 1", b"engine 2"),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(EngineError, match="medsam-edge build"):
        split(memoryview(data))


@pytest.mark.parametrize(
    ("scores", "planned", "said", "wanted"),
    [
        (0, (2000,), "fused", "none"),
        (3000, (2000, 5000), None, "fused"),
        (1000, (2000,), None, "unproven"),
        (1000, (), "not fused", "not fused"),
        (1000, (2000,), "unproven", "unproven"),
    ],
)
def test_attention_is_fused_where_its_scores_would_not_fit_or_the_engine_says_so(
    scores: int, planned: tuple[int, ...], said: str | None, wanted: str
) -> None:
    layers = None if said is None else LayerShare({}, 0, said)
    census = replace(FACTS.census, scores_bytes=scores)
    assert replace(FACTS, census=census, activation_bytes=planned, layers=layers).attention == wanted


@pytest.mark.parametrize(
    ("operations", "precision", "passes"),
    [
        ({"fp16": 90, "fp32": 10}, "fp16", True),
        ({"fp16": 10, "fp32": 90}, "fp16", False),
        ({"fp32": 100}, "fp32", True),
        ({"int8": 60, "fp16": 40}, "int8", True),
        ({"int8": 40, "fp32": 60}, "int8", False),
        ({"fp16": 100}, "int8", False),
    ],
)
def test_an_engine_that_multiplies_in_another_type_is_a_parity_failure(
    operations: dict[str, int], precision: str, passes: bool
) -> None:
    census = Census(1, operations, 0)
    if passes:
        require_precision(census, precision, "encoder")
        return
    with pytest.raises(ParityError, match=f"an? encoder that multiplies in {precision}") as caught:
        require_precision(census, precision, "encoder")
    assert "%" in caught.value.found


def layer(name: str, kind: str, datatype: str) -> dict[str, object]:
    return {"Name": name, "LayerType": kind, "Outputs": [{"Name": "o", "Format/Datatype": datatype}]}


def test_layers_are_counted_by_type_and_opaque_ones_prove_nothing() -> None:
    layers = [
        layer("conv", "CaskConvolution", "Channel major FP16 format"),
        layer("gemm", "gemm", "Half"),
        layer("norm", "kgen", "Row major linear FP32"),
        layer("{ForeignNode[a...b]}", "Myelin", "Float"),
        layer("q", "Reformat", "Int8"),
    ]
    found = layers_from_json(json.dumps({"Layers": layers, "Bindings": []}))
    assert found == LayerShare({"fp16": 2, "fp32": 2, "int8": 1}, 1, "unproven")


@pytest.mark.parametrize(
    ("name", "attention"), [("_gemm_mha_v2_0x1", "fused"), ("softmax_17", "not fused"), ("add", "not fused")]
)
def test_attention_is_read_off_the_names_of_layers_that_are_shown(name: str, attention: str) -> None:
    found = layers_from_json(json.dumps({"Layers": [layer(name, "kgen", "Half")]}))
    assert found is not None
    assert found.attention == attention


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": ["only names"]}', "not json"])
def test_an_engine_that_tells_nothing_is_none(text: str) -> None:
    assert layers_from_json(text) is None
