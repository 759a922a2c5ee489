"""The `bench` verb's own options."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from medsam_edge.benchmarks import bench as module
from medsam_edge.runtime.bundle import open_bundle
from medsam_edge.runtime.errors import ExitCode, UsageError

Cli = Callable[..., CompletedProcess[str]]


def test_bench_keeps_every_sample(cli: Cli, tiny_bundle: Path) -> None:
    document = json.loads(cli("bench", tiny_bundle, "--backend", "fake", "--rounds", 3, "--json").stdout)
    assert [len(one["samples_ms"]) for one in document["candidates"][0]["latencies"]] == [3] * 6


@pytest.mark.parametrize("rounds", ["0", "-1", "many", "1.5"])
def test_bench_wants_auto_or_a_number_of_rounds(cli: Cli, tiny_bundle: Path, rounds: str) -> None:
    done = cli("bench", tiny_bundle, "--backend", "fake", f"--rounds={rounds}")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")


def test_bench_passes_on_what_was_asked_for(cli: Cli, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(*words: object) -> object:
        asked.append(words[1:-1])
        raise UsageError("a", "b", "c")

    monkeypatch.setattr(module, "bench", noted)
    words = ("bench", tiny_bundle, "--backend", "fake")
    assert cli(*words).returncode == ExitCode.USAGE
    assert cli(*words, "--rounds", 7, "--baseline", "torch", "--source", "w.pth").returncode == ExitCode.USAGE
    cli(*words, "--against", tiny_bundle, "--rounds", "auto")
    again = open_bundle(tiny_bundle)
    assert asked == [
        (["fake"], module.Plan(None), False, None, []),
        (["fake"], module.Plan(7), True, "w.pth", []),
        (["fake"], module.Plan(None), False, None, [again]),
    ]
