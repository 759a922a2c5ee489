import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import PIL.Image
import pytest
from medsam_edge.runtime.errors import ExitCode

pytest.importorskip("openvino")
Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture
def segment(cli: Cli, real_bundle: Path, tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    PIL.Image.fromarray(image).save(tmp_path / "image.png")

    def run(*words: object) -> CompletedProcess[str]:
        places = ("--box", "5,5,60,40", "--out", tmp_path / "out", "--backend", "openvino")
        return cli("segment", real_bundle, tmp_path / "image.png", *places, *words)

    return run


def test_segment_tells_what_it_compiled_and_is_silent_when_it_need_not(segment: Cli, tmp_path: Path) -> None:
    first, second = (segment("--state", tmp_path / "state") for _ in range(2))
    assert first.stderr.splitlines() == ["· encoder: compiled model built", "· decoder: compiled model built"]
    assert (second.returncode, second.stderr) == (0, "")
    assert segment().stderr == ""


def test_inspect_tells_what_the_next_start_will_use(segment: Cli, cli: Cli, real_bundle: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert "nothing for this bundle yet" in cli("inspect", real_bundle, "--state", state).stdout
    segment("--state", state)
    assert cli("inspect", real_bundle, "--state", state).stdout.count("reuses it") == 2
    document = json.loads(cli("inspect", real_bundle, "--state", state, "--json").stdout)
    assert document["schema"] == "medsam-edge/inspect/1"
    assert document["manifest"] == json.loads(cli("inspect", real_bundle, "--json").stdout)["manifest"]
    assert [blob["reusable"] for blob in document["blobs"]] == [True, True]


def test_a_folder_with_something_else_is_a_users_mistake(segment: Cli, tmp_path: Path) -> None:
    done = segment("--state", tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "an empty folder or a state folder" in done.stderr
    assert not (tmp_path / "out").exists()
