"""The file of JSON values, the ways they go, and the verdict on what they became."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING

import pytest

from conformance.harness.adapters import Adapter
from conformance.harness.cases import CaseError
from conformance.harness.records import Loss
from conformance.json.losses import (
    WRITTEN,
    Station,
    Verdict,
    expected,
    judge,
    refused,
    summary,
)
from conformance.json.routes import cases_of, routes
from conformance.json.values import RECIPES, KnownLoss, Reason, Value, load

if TYPE_CHECKING:
    from pathlib import Path

WHY = Reason("it does so", "its source")
ROUTE = ("a", "b", "c")
SAME = Station(expected=True, sent=True, written=True, text="1")
OTHER = Station(expected=False, sent=False, written=False, text="2")
AS_KNOWN = Station(expected=True, sent=False, written=False, text="2")
REWRITTEN = Station(expected=True, sent=True, written=False, text="1.0")


def value_of(**lost: str | None) -> Value:
    """A value that `worker_word` makes this of."""
    known = {(name[0], name[2:]): KnownLoss(becomes, WHY) for name, becomes in lost.items()}
    return Value("v", "1", "because", lost=known)


def verdict_of(value: Value, *stations: Station) -> Verdict:
    verdict = Verdict()
    judge(value, ROUTE, stations, verdict)
    return verdict


# The values themselves.


def test_every_value_is_json_and_no_two_have_one_name() -> None:
    values = load()
    assert len(values) > 55
    for value in values:
        if value.name.startswith("1,000 levels"):
            continue  # deeper than `json` reads
        json.loads(value.text, parse_float=str)
        for loss in value.lost.values():
            assert loss.becomes is None or json.loads(loss.becomes, parse_float=str) != value.text


def test_what_is_made_is_as_large_as_its_name_says() -> None:
    assert len(RECIPES["digits"]()) == 400
    assert RECIPES["arrays"]().count("[") == RECIPES["objects"]().count("{") == 1_000
    assert len(json.loads(RECIPES["elements"]())) == 10_000
    assert len(json.loads(RECIPES["keys"]())) == 5_000
    assert len(json.loads(RECIPES["text"]()).encode()) > 5_000_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reasons: {}\nvalues: [{name: a, why: b}]\n", "not valid under any"),
        ("reasons: {}\nvalues: [{name: a, why: b, made: gold}]\n", "'gold' is not one of"),
        (
            (
                "reasons: {}\nvalues: [{name: a, why: b, value: '1',"
                " lost: [{by: [c], at: [work], as: '2', reason: d}]}]\n"
            ),
            "a: there is no reason 'd'",
        ),
        (
            "reasons: {}\nvalues: [{name: a, why: b, value: '1'}, {name: a, why: b, value: '2'}]\n",
            "given twice: a",
        ),
        ("reasons: {\n", "while parsing"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaseError, match=said):
        load(path)


# The ways.


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_two_workers_follow_each_other_in_both_places(count: int) -> None:
    workers = "abcd"[:count]
    ways = list(routes(workers))
    pairs = set(product(workers, repeat=2))
    assert len(ways) == len(set(ways)) == count**2
    assert {way[:2] for way in ways} == {way[1:] for way in ways} == pairs


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_quick_run_goes_some_of_the_ways_and_every_worker_is_on_one(count: int) -> None:
    adapters = [Adapter(name, name, ("true",)) for name in "abcd"[:count]]
    cases = cases_of(adapters)
    quick = [case.id for case in cases if case.quick]
    assert len({case.id for case in cases}) == len(cases)
    assert 1 <= len(quick) <= count
    assert all(any(adapter.name in way.split(".")[1] for way in quick) for adapter in adapters)


# What is to be expected on the way.


def test_a_value_stays_what_it_is() -> None:
    assert expected(value_of(), ROUTE) == ["1", "1", "1", "1"]


def test_what_the_database_makes_of_it_is_what_everybody_gets() -> None:
    assert expected(Value("v", "-0.0", "", stored="0.0"), ROUTE) == ["0.0"] * 4


def test_a_loss_stays_until_another_takes_its_place() -> None:
    value = value_of(a_start="2", c_work="null", a_work="3", b_start="4")
    assert expected(value, ROUTE) == ["2", "2", "null", "null"]


def test_behind_a_worker_that_refuses_it_there_is_nothing() -> None:
    value = value_of(b_work=None, c_work="2")
    assert expected(value, ROUTE) == ["1", None, None, None]


# What is said of it.


def test_a_value_that_arrives_is_no_loss() -> None:
    verdict = verdict_of(value_of(), SAME, SAME, SAME, SAME)
    assert verdict == Verdict(losses=[Loss("v", ROUTE)])
    assert summary(verdict.losses) == "nothing lost"


def test_a_number_written_in_another_way_is_said_and_no_loss() -> None:
    verdict = verdict_of(value_of(), SAME, REWRITTEN, REWRITTEN, REWRITTEN)
    assert verdict == Verdict(losses=[Loss("v", ROUTE, "1.0", WRITTEN)])
    assert summary(verdict.losses) == "nothing lost"


def test_an_unknown_loss_is_a_problem_of_the_first_who_lost_it() -> None:
    verdict = verdict_of(value_of(), SAME, OTHER, OTHER, OTHER)
    assert verdict == Verdict(problems=["v: b makes 2 of it"], losses=[Loss("v", ROUTE, "2")])
    assert summary(verdict.losses) == "1 lost"


def test_a_known_loss_is_excused_with_its_reference() -> None:
    verdict = verdict_of(value_of(b_work="2"), SAME, AS_KNOWN, AS_KNOWN, AS_KNOWN)
    why = "b: it does so (its source)"
    assert verdict.losses == [Loss("v", ROUTE, "2", why)]
    assert verdict.excused == [f"v: it comes as 2: {why}"]
    assert (verdict.problems, verdict.stale) == ([], [])
    assert summary(verdict.losses) == "1 lost as is known"


def test_a_known_loss_that_does_not_happen_is_stale() -> None:
    kept = SAME._replace(expected=False)
    verdict = verdict_of(value_of(b_work="2"), SAME, kept, kept, kept)
    assert len(verdict.stale) == 1
    assert "b is known to lose it" in verdict.stale[0]
    assert (verdict.problems, verdict.excused) == ([], [])


def test_another_loss_than_the_known_one_has_no_excuse() -> None:
    verdict = verdict_of(value_of(b_work="3"), SAME, OTHER, OTHER, OTHER)
    assert verdict.problems == ["v: b makes 2 of it"]
    assert verdict.losses == [Loss("v", ROUTE, "2")]


def test_a_loss_behind_a_known_one_has_no_excuse_either() -> None:
    verdict = verdict_of(value_of(b_work="2"), SAME, AS_KNOWN, OTHER, OTHER)
    assert verdict.problems == ["v: c makes 2 of it"]
    assert verdict.losses == [Loss("v", ROUTE, "2")]


def test_a_loss_in_the_output_of_the_run_is_nobodys() -> None:
    verdict = verdict_of(value_of(), SAME, SAME, SAME, OTHER)
    assert verdict.problems == ["v: in the run's output it is 2"]


def test_a_refusal_that_is_known_is_excused_and_another_is_a_problem() -> None:
    known = value_of(a_start=None)
    verdict = verdict_of(known, *refused(known, ROUTE, "it said no"))
    assert verdict.losses == [Loss("v", ROUTE, "an error", "a: it does so (its source)")]
    unknown = value_of()
    verdict = verdict_of(unknown, *refused(unknown, ROUTE, "it said no"))
    assert verdict.problems == ["v: a makes nothing (it said no) of it"]
