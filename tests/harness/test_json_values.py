"""The file of JSON values, the ways they go, and the verdict on what they became."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from conformance.harness.adapters import Adapter
from conformance.harness.cases import CaseError
from conformance.harness.records import Case, Loss
from conformance.json.errors import FAIL, RETURN, Failure, failures, station
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
        ("reasons: {}\nvalues: [{name: a, why: b, made: gold}]\n", "there is no recipe 'gold'"),
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
    assert verdict == Verdict(problems=["v: behind b it is 2"], losses=[Loss("v", ROUTE, "2")])
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
    assert verdict.problems == ["v: behind b it is 2"]
    assert verdict.losses == [Loss("v", ROUTE, "2")]


def test_a_loss_behind_a_known_one_has_no_excuse_either() -> None:
    verdict = verdict_of(value_of(b_work="2"), SAME, AS_KNOWN, OTHER, OTHER)
    assert verdict.problems == ["v: behind c it is 2"]
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
    assert verdict.problems == ["v: behind a it is nothing (it said no)"]


def test_what_is_known_goes_into_the_record_of_the_case() -> None:
    record = Case("json.x", "json", "p", "r", "0.5.0", ("a",), "passed", 1.0)
    fine = verdict_of(value_of(), SAME, SAME, SAME, SAME).put_into(record, "file")
    assert (fine.outcome, fine.problems, fine.note) == ("passed", (), "nothing lost")
    known = verdict_of(value_of(b_work="2"), SAME, AS_KNOWN, AS_KNOWN, AS_KNOWN)
    excused = known.put_into(record, "file")
    assert excused.outcome == "deviation"
    assert excused.deviation is not None
    assert excused.deviation.reference == "file"
    assert known.put_into(replace(record, outcome="failed"), "file").outcome == "failed"
    stale = verdict_of(value_of(b_work="2"), SAME, *[SAME._replace(expected=False)] * 3)
    assert stale.put_into(record, "file").outcome == "unexpected_pass"


# Failures.


def failure_of(text: str, how: str = FAIL, **lost: str | None) -> Failure:
    known = {("w", word): KnownLoss(becomes, WHY) for word, becomes in lost.items()}
    return Failure("step", how, Value("v", json.dumps(text), "because", lost=known))


def test_each_failure_is_a_step_of_its_own_and_both_kinds_are_there() -> None:
    listed = failures()
    assert len({one.slug for one in listed}) == len({one.name for one in listed}) == len(listed)
    assert {one.how for one in listed} == {FAIL, RETURN}
    assert all(isinstance(json.loads(one.value.text), str) for one in listed if one.how == FAIL)


@pytest.mark.parametrize(
    ("failure", "said", "good"),
    [
        (failure_of(" a "), " a ", True),
        (failure_of(" a "), "a", False),
        (failure_of(""), "", True),
        (failure_of(""), None, False),
        (failure_of("a\x00b"), "a\\u0000b", True),
        (failure_of("a\x00b"), "ab", True),
        (failure_of("a\x00b"), "a", False),
        (failure_of("a\ud800b"), "a\ufffdb", True),
        (failure_of("x\x00", RETURN), "no such value", True),
        (failure_of("x\x00", RETURN), "", False),
        (failure_of("x\x00", RETURN), None, False),
    ],
)
def test_an_error_text_is_kept_as_far_as_it_is_text(
    failure: Failure, said: str | None, good: bool
) -> None:
    there = station(failure, "w", said)
    assert (there.expected, there.sent) == (good, good)


def test_a_known_loss_of_an_error_is_expected_and_nothing_else() -> None:
    stuck = failure_of("a\x00b", fail=None)
    assert station(stuck, "w", None)[:2] == (True, False)
    assert station(stuck, "w", "ab")[:2] == (False, True)
    bent = failure_of("a", fail='"b"')
    assert station(bent, "w", "b")[:2] == (True, False)
    assert station(bent, "other", "b")[:2] == (False, False)
