"""The tables of `quantize`: 80 columns, what is held against the limits, and what a refusal says."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from medsam_edge.benchmarks.quantize_tables import quantize_tables
from medsam_edge.calibration.outcome import Candidate, Outcome, RecipeRow
from medsam_edge.calibration.scores import Drop, Limits, MaskScore, summed
from medsam_edge.calibration.search import Sensitivity
from medsam_edge.calibration.speed import Speed
from rich.console import Console

Show = Callable[[Outcome], str]
MODALITIES = ("Mammography", "Ultrasound", "Dermoscopy")


@pytest.fixture
def shown() -> Show:
    def show(outcome: Outcome) -> str:
        console = Console(width=80)
        with console.capture() as capture:
            console.print(quantize_tables(outcome))
        return capture.get()

    return show


def dropped(worst: float = 0.0123) -> Drop:
    scores = [
        MaskScore(f"{n}", f"{n}", MODALITIES[n % 2], 0.8 if n == 7 else 0.99, worst * (n % 2)) for n in range(1000)
    ]
    few = [MaskScore(f"few {n}", f"few {n}", MODALITIES[2], 0.99, -0.5) for n in range(2)]
    return summed([*scores, *few], 0)


def candidate(name: str, against: str, objections: tuple[str, ...] = (), chosen: bool = False) -> Candidate:
    speed = Speed(10123.4, against, 25123.4, 12.34, 11.0, 13.0, 10)
    kept = ("layers.1.blocks.10",)
    return Candidate(
        name,
        1_234_000_000,
        2_345_000_000,
        "percentile-99.99, balanced",
        kept,
        dropped(),
        10123.4,
        speed,
        objections,
        chosen,
    )


def outcome(*candidates: Candidate) -> Outcome:
    chosen = next((one.backend for one in candidates if one.chosen), None)
    return Outcome(
        bundle="b",
        digest="",
        target="onnxruntime",
        gating=True,
        limits=Limits(),
        margin=1.1,
        warnings=("evaluation: Dermoscopy has 2 patients only, too few for a bound",),
        recipes=(RecipeRow("percentile-99.999, balanced", 0.9, -0.01), RecipeRow("entropy", None, None, "NaN")),
        sensitivities=(Sensitivity("layers.1.blocks.10", 0.5, 0.5),),
        tried=(),
        layers=(),
        candidates=(Candidate("openvino", 1, None, "", (), None, 25123.4, None, ()), *candidates),
        notes=("something that was computed again",),
        peak_mib=1234.5,
        reused=False,
        chosen=chosen,
    )


INT8, MIXED = "openvino:CPU:int8", "openvino:CPU:int8+bf16"
WHOLE = outcome(candidate(INT8, "openvino", chosen=True), candidate(MIXED, INT8, ("the mean DSC drop may be 0.0061",)))


def test_it_is_80_columns_wide_and_nothing_is_cut(shown: Show) -> None:
    text = shown(WHOLE)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_every_encoder_has_its_time_and_what_it_beat(shown: Show) -> None:
    rows = [line.split()[:3] for line in shown(WHOLE).splitlines()[5:8]]
    assert rows == [["float32", "25123", "-"], ["int8", "10123", "12.34"], ["int8+bf16", "10123", "12.34"]]


def test_what_is_held_against_the_limits_stands_beside_them(shown: Show) -> None:
    drop, text = dropped(), shown(WHOLE)
    assert drop.bounds is not None
    worst = drop.modalities[0]
    row = next(line for line in text.splitlines() if line.startswith(" int8 ") and "%" in line)
    bounds = drop.bounds
    assert row.split() == [
        "int8",
        f"{bounds.mean_drop:.4f}",
        worst.modality,
        f"{worst.drop_bound:.4f}",
        f"{bounds.p5_parity:.3f}",
        f"{bounds.low_share:.2%}",
    ]
    limit = next(line for line in text.splitlines() if line.startswith(" limit"))
    assert limit.split() == ["limit", "0.0050", "0.0200", "0.950", "2.00%"]


def test_a_modality_without_a_bound_says_none(shown: Show) -> None:
    row = next(line for line in shown(WHOLE).splitlines() if line.split()[:2] == ["Dermoscopy", "2"])
    assert row.split() == ["Dermoscopy", "2", "2", "-0.5000", "none", "0.9900"]


def test_memory_warnings_and_notes_are_said(shown: Show) -> None:
    text = " ".join(shown(WHOLE).split())
    assert "Peak memory of the process: 1234 MiB." in text
    assert "Warning: evaluation: Dermoscopy has 2 patients only, too few for a bound." in text
    assert "Note: something that was computed again." in text


def test_a_refusal_that_was_remembered_says_how_to_ask_anew(shown: Show) -> None:
    refused = outcome(candidate(INT8, "openvino", ("0.98 times as fast as openvino (margin 1.1)",)))
    assert "the same was asked before" not in shown(refused).lower()
    text = shown(replace(refused, reused=True))
    assert "The same was asked before; nothing was done." in text
    assert "Nothing cheaper was kept; the bundle is as it was." in text
    assert "remove the journal" in text
    assert "remove the journal" not in shown(replace(WHOLE, reused=True))


def test_a_candidate_that_was_not_judged_has_dashes(shown: Show) -> None:
    bare = Candidate(INT8, 0, None, "", (), None, None, None, ("no usable masks: NaN",))
    text = shown(outcome(bare))
    assert "no usable masks: NaN." in text
    assert "Held against" not in text
