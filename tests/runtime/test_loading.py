"""Which backends a graph may serve as, once somebody wrote down where its masks were judged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.runtime import load, loading
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import BundleError, ExitCode
from medsam_edge.runtime.manifest import encode, parse, seal

Here = Callable[..., None]


def judged_on(bundle: Path, *names: str) -> Bundle:
    """The bundle with an int8 encoder beside its own, judged on these backends."""
    opened = open_bundle(bundle)
    encoder = opened.entry("encoder", "fp32")
    graphs = (*opened.manifest.graphs, replace(encoder, precision="int8", judged=names))
    return replace(opened, manifest=replace(opened.manifest, graphs=graphs))


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, here: Here) -> list[str]:
    """The choices that pass, in place of opening them; OpenVINO need not be installed."""
    here("openvino", "onnxruntime")
    seen: list[str] = []
    monkeypatch.setattr(loading, "predictor_of", lambda _profile, _sources, choice, **_: seen.append(str(choice)))
    return seen


@pytest.mark.parametrize("name", ["openvino:CPU:int8", "openvino:GPU:int8+bf16", "onnxruntime:CPU:int8"])
def test_a_graph_does_not_serve_where_nobody_judged_it(tiny_bundle: Path, reached: list[str], name: str) -> None:
    bundle = judged_on(tiny_bundle, "openvino:CPU:int8+bf16")
    with pytest.raises(BundleError, match=r"only\. To mend it: name one of these, or `verify`") as caught:
        load(bundle, name)
    assert f"judged on {name}; found judged on openvino:CPU:int8+bf16" in str(caught.value)
    assert caught.value.exit_code == ExitCode.ARTEFACT
    assert not reached


@pytest.mark.parametrize("name", ["openvino:CPU:int8+bf16", "openvino::int8+bf16", "openvino", "openvino:CPU:bf16"])
def test_what_was_judged_serves_and_float_graphs_need_no_judgement(
    tiny_bundle: Path, reached: list[str], name: str
) -> None:
    load(judged_on(tiny_bundle, "openvino:CPU:int8+bf16"), name, threads=2)
    assert len(reached) == 1


def test_who_measures_may_open_it_all_the_same(tiny_bundle: Path, reached: list[str]) -> None:
    load(judged_on(tiny_bundle, "openvino:CPU:int8+bf16"), "openvino:CPU:int8", unjudged=True)
    load(judged_on(tiny_bundle), "openvino:GPU:int8")
    assert reached == ["openvino:CPU:int8", "openvino:GPU:int8"]


def test_the_manifest_has_the_judgement_only_where_there_is_one(tiny_bundle: Path) -> None:
    manifest = seal(judged_on(tiny_bundle, "openvino:CPU:int8").manifest)
    data = encode(manifest)
    assert parse(data) == manifest
    listed = json.loads(data)["graphs"]
    assert [one.get("judged") for one in listed] == [None, None, ["openvino:CPU:int8"]]
