from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from medsam_edge.benchmarks import candidates as module
from medsam_edge.benchmarks.candidates import (
    EAGER,
    TUNED,
    TUNED_EAGER,
    Role,
    against_candidates,
    bundle_candidates,
    torch_candidates,
)
from medsam_edge.runtime.bundle import Bundle, open_bundle
from medsam_edge.runtime.errors import UsageError


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def moved(bundle: Bundle) -> Callable[[str], Bundle]:
    return lambda root: replace(bundle, root=Path(root))


def test_each_backend_of_a_bundle_is_one(bundle: Bundle) -> None:
    found = bundle_candidates(bundle, ["fake", "openvino:GPU"])
    assert [(one.opening.kind, one.opening.bundle, one.opening.backend) for one in found] == [
        ("bundle", str(bundle.root), "fake"),
        ("bundle", str(bundle.root), "openvino:GPU"),
    ]
    assert {one.role for one in found} == {Role.OWN}


def test_only_tensorrt_is_told_where_its_engines_lie(bundle: Bundle) -> None:
    found = bundle_candidates(bundle, ["openvino", "tensorrt:GPU:int8", "tensorrt-rtx"], engines=Path("/state"))
    assert [one.opening.state for one in found] == ["", "/state", "/state"]
    assert {one.opening.state for one in bundle_candidates(bundle, ["openvino", "tensorrt"])} == {""}


def test_other_bundles_are_named_by_their_folders(moved: Callable[[str], Bundle]) -> None:
    found = against_candidates(moved("/a/x"), [moved("/a/y"), moved("/b/z")], ["fake", "onnxruntime"])
    assert [one.name for one in found] == ["y", "y", "z", "z"]
    assert {one.role for one in found} == {Role.AGAINST}


def test_folders_of_one_name_are_told_apart_by_their_paths(moved: Callable[[str], Bundle]) -> None:
    found = against_candidates(moved("/a/x"), [moved("/b/x"), moved("/b/y")], ["fake"])
    assert [one.name for one in found] == ["/b/x", "y"]


@pytest.mark.parametrize("what", ["profile", "weights"])
def test_a_bundle_of_another_model_is_refused(bundle: Bundle, moved: Callable[[str], Bundle], what: str) -> None:
    manifest = bundle.manifest
    changed = {
        "profile": replace(manifest, profile={**manifest.profile, "threshold": 0.4}),
        "weights": replace(manifest, model=replace(manifest.model, weights_sha256="9" * 64)),
    }
    other = replace(moved("/other"), manifest=changed[what])
    with pytest.raises(UsageError, match=f"expected the {what} of .*; found .* /other"):
        against_candidates(bundle, [other], ["fake"])


def test_the_allocator_is_tuned_in_one_process_only(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_glibc", lambda: True)
    eager, tuned = torch_candidates(Path("w.pth"), bundle)
    assert (eager.name, eager.env) == (EAGER, {})
    assert (tuned.name, tuned.env) == (TUNED_EAGER, TUNED)
    assert tuned.env["GLIBC_TUNABLES"].startswith("glibc.malloc.hugetlb=1:")
    assert eager.opening == tuned.opening
    assert (eager.opening.weights, eager.opening.profile) == ("w.pth", bundle.manifest.profile)


def test_without_glibc_there_is_nothing_to_tune(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "libc_ver", lambda: ("musl", "1"))
    assert [one.name for one in torch_candidates(Path("w.pth"), bundle)] == [EAGER]
