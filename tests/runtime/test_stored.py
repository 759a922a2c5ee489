"""Whose blobs a state folder holds; what a real library makes of them is in `test_openvino_cache`."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.golden import Golden
from medsam_edge.runtime.state import StateFolder, origin_of
from medsam_edge.runtime.state_manifest import BlobKey
from medsam_edge.runtime.stored import bundle_state

KEY = BlobKey("encoder", "a" * 64, "fp32", "openvino", "1", "CPU", {}, (), "f32", None, {}, "0.1.0")
UNREADABLE = os.fsdecode(b"b\xff")  # as a folder on an old USB stick may be called


def test_an_origin_is_text_whatever_the_folder_is_called(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "graphs")
    assert origin_of(tmp_path / "link") == str(tmp_path / "graphs")
    assert origin_of(tmp_path / UNREADABLE) == f"{tmp_path}/b\\udcff"


def test_blobs_of_a_replaced_bundle_are_known_whatever_its_folder_is_called(
    tmp_path: Path, write_bundle: Callable[..., Path], tiny_golden: Sequence[Golden]
) -> None:
    roots = [write_bundle(tmp_path / name, tiny_golden) for name in (UNREADABLE, "other.bundle")]
    state = StateFolder(tmp_path / "state")
    state.store(KEY, origin_of(roots[0] / "graphs"), memoryview(b"compiled"))
    (mine,), theirs = (bundle_state(open_bundle(root), state.root).blobs for root in roots)
    assert "which the bundle no longer has" in mine.reason
    assert theirs == ()
