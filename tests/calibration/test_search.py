"""The search for the fewest blocks in float, against judges whose truth is known."""

from collections.abc import Mapping

import pytest
from medsam_edge.calibration.scores import NO_LIMITS, NOTHING_LEFT, Drop, Limits, MaskScore, summed
from medsam_edge.calibration.search import ROOM, search

BLOCKS = ("patch_embed", "blocks.0", "blocks.1", "blocks.2", "neck")


class Judge:
    """Harm adds up; how often it was asked is counted."""

    def __init__(self, harm: Mapping[str, float]) -> None:
        self.harm, self.asked = harm, 0

    def __call__(self, kept: frozenset[str]) -> Drop:
        self.asked += 1
        lost = sum(value for block, value in self.harm.items() if block not in kept)
        return summed([MaskScore("case", "patient", "CT", 1 - lost, lost)])


def test_a_harmless_model_keeps_nothing_in_float() -> None:
    found = search(BLOCKS, Judge({}), Limits())
    assert found.kept_float == frozenset()
    assert {one.block for one in found.sensitivities} == set(BLOCKS)


@pytest.mark.parametrize("culprit", BLOCKS)
def test_one_destroyed_block_is_found_and_it_alone_kept(culprit: str) -> None:
    found = search(BLOCKS, Judge({"blocks.1": 0.001} | {culprit: 0.3}), Limits())
    assert found.kept_float == {culprit}
    assert found.sensitivities[0].block == culprit
    assert found.tried[0].kept_float == ()
    assert found.tried[0].objections


def test_what_only_seemed_to_harm_is_let_go_again() -> None:
    """Alone, `neck` does the most; with `blocks.0` in float it does nothing."""

    def judge(kept: frozenset[str]) -> Drop:
        alone = len(kept) == len(BLOCKS) - 1
        lost = 0.2 * ("blocks.0" not in kept) + 0.5 * (alone and "neck" not in kept)
        return summed([MaskScore("case", "patient", "CT", 1 - lost, lost)])

    found = search(BLOCKS, judge, Limits())
    assert found.kept_float == {"blocks.0"}


def test_what_nothing_helps_is_said() -> None:
    found = search(BLOCKS, lambda _: summed([MaskScore("case", "patient", "CT", 0.5, 0.5)]), Limits())
    assert found.kept_float is None
    assert len(found.tried) == len(BLOCKS)


def test_a_choice_is_made_by_means_with_room_and_not_by_what_few_cases_bound() -> None:
    """The spread of eight people puts the bound beyond the limit; nothing needs to stay float for that."""

    def judge(_: frozenset[str]) -> Drop:
        return summed([MaskScore(f"{n}", f"{n}", "CT", 0.89 if n == 0 else 1, 0.016 * (n == 0)) for n in range(8)])

    limits = Limits(p5_parity=0.9)
    assert search(BLOCKS, judge, limits).kept_float == frozenset()
    scores = [MaskScore(f"{n}", f"{n}", "CT", 0.89 if n == 0 else 1, 0.016 * (n == 0)) for n in range(8)]
    assert len(summed(scores, 0).objections(limits)) == 3


@pytest.mark.parametrize(("lost", "kept"), [(ROOM * 0.005, True), (ROOM * 0.005 + 1e-6, False)])
def test_room_is_left_for_the_bound(lost: float, kept: bool) -> None:
    found = search(BLOCKS, lambda _: summed([MaskScore("case", "patient", "CT", 1, lost)]), Limits())
    assert (found.kept_float is not None) == kept


def test_a_candidate_without_masks_is_never_chosen_though_nothing_is_asked_of_it() -> None:
    assert search(BLOCKS, lambda _: NOTHING_LEFT, NO_LIMITS).kept_float is None


def test_the_judge_is_asked_a_few_times_only() -> None:
    judge = Judge(dict.fromkeys(BLOCKS, 0.01))
    search(BLOCKS, judge, Limits())
    assert judge.asked <= 3 * len(BLOCKS)
