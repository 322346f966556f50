"""The arithmetic of the benchmarks: pairs, percentiles, targets."""

from __future__ import annotations

import pytest

from benchmarks.pairs import Spread, in_turns, order, ratios
from benchmarks.percentiles import percentile
from benchmarks.targets import TARGETS, Target, Verdict, judge


def test_a_ratio_is_made_within_one_round_not_of_medians() -> None:
    above = {0: 10.0, 1: 100.0, 2: 30.0}
    below = {0: 5.0, 1: 10.0, 2: 30.0}
    assert ratios(above, below) == [2.0, 10.0, 1.0]
    assert Spread.of(ratios(above, below)).median == 2.0  # that of medians would be 3.0


def test_rounds_without_both_figures_are_left_out_and_none_at_all_is_an_error() -> None:
    assert ratios({0: 1.0, 2: 4.0}, {1: 1.0, 2: 2.0}) == [2.0]
    with pytest.raises(ValueError, match="no round has both"):
        ratios({0: 1.0}, {1: 1.0})
    with pytest.raises(ValueError, match="round 3 would be divided by 0"):
        ratios({3: 1.0}, {3: 0.0})


def test_every_subject_is_measured_once_a_round_and_first_in_turn() -> None:
    seen = list(in_turns({"a": lambda: 1.0, "b": lambda: 2.0, "c": lambda: 3.0}, rounds=3))
    assert [name for _, name, _ in seen] == list("abcbcacab")
    assert [number for number, _, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert order([], 4) == []


def test_a_spread_needs_measurements() -> None:
    assert Spread.of([4.0, 1.0]) == Spread(2.5, 1.0, 4.0, 2)
    with pytest.raises(ValueError, match="no measurement"):
        Spread.of([])


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1.0), (7, 7.0), (50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0)]
)
def test_a_percentile_is_the_value_of_its_rank(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percentage_has_its_range(percent: float) -> None:
    with pytest.raises(ValueError, match="at most 100"):
        percentile([1.0], percent)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("bound", "below", "at", "above"),
    [
        ("at least", Verdict.MISSED, Verdict.MET, Verdict.MET),
        ("at most", Verdict.MET, Verdict.MET, Verdict.MISSED),
        ("below", Verdict.MET, Verdict.MISSED, Verdict.MISSED),
    ],
)
def test_a_target_at_its_limit(bound: str, below: Verdict, at: Verdict, above: Verdict) -> None:
    target = Target("x", "x", bound, 2.0)  # type: ignore[arg-type]  # parametrized
    assert [target.verdict(value) for value in (1.9, 2.0, 2.1)] == [below, at, above]


def test_what_was_not_measured_is_never_met() -> None:
    assert {verdict for _, _, verdict in judge({})} == {Verdict.NOT_MEASURED}
    assert TARGETS[0].verdict(float("nan")) is Verdict.NOT_MEASURED


def test_every_target_has_a_figure_of_its_own() -> None:
    assert len({target.figure for target in TARGETS}) == len(TARGETS)
