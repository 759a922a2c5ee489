from pathlib import Path

import pytest
from medsam_edge.runtime.engines.board import Board, advice, board, estimate
from medsam_edge.runtime.engines.options import (
    GIB,
    MIB,
    BuildOptions,
    buckets,
    check_options,
    is_small,
    ladder,
    workspace_from_text,
)
from medsam_edge.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("most", "small", "sizes"),
    [
        (16, False, (1, 4, 16)),
        (16, True, (1, 4, 8)),
        (64, True, (1, 4, 8)),
        (64, False, (1, 4, 16, 64)),
        (4, False, (1, 4)),
        (3, False, (1, 3)),
        (1, True, (1,)),
    ],
)
def test_boxes_have_a_profile_for_few_usual_and_many(most: int, small: bool, sizes: tuple[int, ...]) -> None:
    assert buckets(most, small) == sizes


def test_a_board_of_eight_gigabytes_is_small_and_a_card_is_not() -> None:
    assert is_small(int(7.4 * GIB), integrated=True)
    assert not is_small(int(7.4 * GIB), integrated=False)
    assert not is_small(15 * GIB, integrated=True)
    with pytest.raises(UsageError):
        buckets(0, small_board=False)


@pytest.mark.parametrize(
    ("text", "memory", "free", "wanted"),
    [
        ("2GiB", None, None, 2 * GIB),
        ("512MiB", 8 * GIB, 1 * GIB, 512 * MIB),
        ("auto", None, None, 4 * GIB),
        ("auto", 80 * GIB, None, 4 * GIB),
        ("auto", 8 * GIB, None, 2 * GIB),
        ("auto", 8 * GIB, 4 * GIB, GIB),
        ("auto", 8 * GIB, 100 * MIB, 256 * MIB),
    ],
)
def test_a_workspace_is_a_size_or_follows_what_is_free(
    text: str, memory: int | None, free: int | None, wanted: int
) -> None:
    assert workspace_from_text(text, memory, free) == wanted


@pytest.mark.parametrize("text", ["", "2", "2GB", "0GiB", "-1GiB", "2 GiB", "auto2"])
def test_a_workspace_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="2GiB"):
        workspace_from_text(text, None, None)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("fp8", "enterprise", 3, ()), "--precision"),
        (("auto", "lean", 3, ()), "--flavour"),
        (("auto", "rtx", 6, ()), "--opt-level"),
        (("auto", "enterprise", 3, ("8.6",)), "--flavour rtx"),
        (("auto", "rtx", 3, ("sm86",)), "compute capability"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: tuple[str, str, int, tuple[str, ...]], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        check_options(*words)


def test_where_memory_runs_out_less_is_tried_and_never_the_same_again() -> None:
    steps = ladder(BuildOptions("enterprise", (1,), 2 * GIB, 3))
    assert [(one.workspace_bytes // MIB, one.level) for one in steps] == [(2048, 3), (1024, 3), (512, 2), (256, 1)]
    steps = ladder(BuildOptions("enterprise", (1,), 128 * MIB, 1))
    assert [(one.workspace_bytes // MIB, one.level) for one in steps] == [(128, 1)]


def jetson(root: Path, release: str = "R36 (release), REVISION: 4.3", mode: str = "0002") -> Path:
    files = {
        "etc/nv_tegra_release": f"# {release}, GCID: 1, BOARD: generic, EABI: aarch64\n",
        "proc/meminfo": "MemTotal: 7802880 kB\nMemAvailable:    2097152 kB\nSwapFree:        524288 kB\n",
        "proc/17/comm": "gnome-shell\n",
        "proc/self-like/comm": "Xorg\n",
        "var/lib/nvpmodel/status": f"pmode:{mode}\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_board_is_read_from_the_systems_files(tmp_path: Path) -> None:
    assert board(jetson(tmp_path)) == Board(
        "36.4.3", "6.2", "MAXN_SUPER", 2 * GIB, 512 * MIB, True, None, 7802880 * 1024
    )
    assert board(tmp_path / "nothing") == Board(None, None, None, 0, 0, False)


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [("R36, 4.7", "6.2.1"), ("R39, 2.0", "7.2"), ("R35, 4.1", None)],
)
def test_the_jetpack_follows_from_the_release(tmp_path: Path, release: str, jetpack: str | None) -> None:
    assert board(jetson(tmp_path, release.replace(",", " (release), REVISION:"))).jetpack == jetpack


def test_advice_is_given_on_a_jetson_and_only_where_there_is_some(tmp_path: Path) -> None:
    found = board(jetson(tmp_path, mode="0000"))
    lines = advice(found, estimate(180 * MIB, 2 * GIB))
    assert [words in line for words, line in zip(("2048 MiB", "swap", "desktop", "15W"), lines, strict=True)] == [
        True
    ] * 4
    assert advice(board(jetson(tmp_path)), GIB) == []
    assert advice(Board(None, None, None, 0, 0, True), GIB) == []
