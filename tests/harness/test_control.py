"""The control group's own logic: the cases of a wrong worker, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conformance.control import page
from conformance.control.group import RIGHT, Group, Member, judge, load
from conformance.harness.cases import Case, CaseError

IDLE = Member("idle", "It does nothing.", {"a.done": "not within"}, ("a.row",), waits=True)


def case(name: str) -> Case:
    return Case(name, f"The promise of {name}.", "somewhere", {"slug": "f", "steps": []}, {}, ())


CASES = {name: case(name) for name in ("a.done", "a.row", "a.other")}


def trial(name: str, outcome: str, *problems: str) -> Any:
    return cast("Any", SimpleNamespace(case=CASES[name], outcome=outcome, problems=[*problems]))


def test_a_wrong_worker_that_fails_where_it_should_is_caught() -> None:
    tried = [trial("a.done", "failed", "the run is over, not within 5 s"), trial("a.row", "passed")]
    control, problems = judge(IDLE, tried)
    assert problems == []
    assert control.caught
    assert (control.failed, control.passed) == (("a.done",), ("a.row",))


@pytest.mark.parametrize(
    ("done", "row", "said"),
    [
        (("passed",), ("passed",), "it passes a.done, though it breaks that promise"),
        (
            ("failed", "it died"),
            ("passed",),
            "it fails a.done for another reason than 'not within'",
        ),
        (("unsupported", "no"), ("passed",), "a.done was not tried: no"),
        (("failed", "not within"), ("failed", "no row"), "it fails a.row, though it keeps"),
    ],
)
def test_a_wrong_worker_that_gets_away_or_fails_elsewhere_is_a_problem(
    done: tuple[str, ...], row: tuple[str, ...], said: str
) -> None:
    _, problems = judge(IDLE, [trial("a.done", *done), trial("a.row", *row)])
    assert len(problems) == 1
    assert problems[0].startswith(said)


def test_a_case_that_it_does_not_name_is_counted_and_not_judged() -> None:
    tried = [trial("a.done", "failed", "not within"), trial("a.other", "failed", "anything")]
    control, problems = judge(IDLE, tried)
    assert problems == []
    assert control.failed == ("a.done", "a.other")


def test_the_right_worker_must_pass_all() -> None:
    right = Member(RIGHT, "It does nothing wrong.", {})
    assert judge(right, [trial("a.done", "passed")])[1] == []
    assert judge(right, [trial("a.done", "failed", "no")])[1] != []


def test_what_a_worker_goes_through() -> None:
    group = Group([IDLE], CASES)
    tried = group.tries(IDLE)
    assert [one.id for one in tried] == ["a.done", "a.row"]
    assert [one.within for one in tried] == [5.0, CASES["a.row"].within]
    assert [one.id for one in group.tries(group.member(RIGHT))] == ["a.done", "a.row"]
    assert [one.id for one in group.tries(IDLE, everything=True)] == [*CASES]


@pytest.mark.parametrize(
    ("caught_by", "keeps", "said"),
    [
        ({}, ("a.row",), "it needs a case that catches it"),
        ({"a.done": ""}, (), "and one it passes"),
        ({"a.ghost": ""}, ("a.row",), "it names a.ghost, and there is no such case"),
        ({"a.done": ""}, ("a.ghost",), "it names a.ghost"),
        ({"a.done": ""}, ("a.done",), "it cannot both fail and pass a.done"),
    ],
)
def test_a_group_that_does_not_fit_the_cases_is_refused(
    caught_by: dict[str, str], keeps: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CaseError, match=said):
        Group([Member("x", "It is.", caught_by, keeps)], CASES)


def test_the_group_fits_the_cases_and_each_says_a_sentence() -> None:
    group = load()
    assert len(group.members) >= 20
    for member in group.members:
        assert member.does.startswith("It")
        assert member.does.endswith(".")


def test_of_some_of_the_group_the_right_one_tries_what_those_name() -> None:
    whole, few = load(), load({"takes-too-many"})
    (some,), right = few.members, few.member(RIGHT)
    tried = [one.id for one in few.tries(right)]
    assert tried == [*some.caught_by, *some.keeps]
    assert set(tried) < {one.id for one in whole.tries(right)}


def test_the_page_is_what_the_code_says() -> None:
    written = Path(page.PAGE).read_text(encoding="utf-8")
    assert written == page.page(load()), "out of date: ./scripts/control --write"
