"""Workers of one core's time on another stumble where they must, and what is said of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from conformance.harness.databases import Cluster, template_of
from conformance.harness.trial import Trial
from conformance.regress import crossing
from conformance.regress.crossing import Crossed, case_of, findings, of_today
from conformance.regress.dated import Calls, look
from conformance.regress.findings import CannotRun
from tests.harness.made import cluster_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = "0.5.0", "0.8.1"
WORKS = Crossed(works=True)
READ = {"doing": "read messages", "sql": "SELECT 1", "said": "no such thing", "sqlstate": "42883"}
STOP = {"doing": "mark itself as stopped", "sql": "SELECT 2", "said": "no", "sqlstate": "42703"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_with(OLD, NEW) as made:
        yield made


def calls(cluster: Cluster, core: str) -> Calls:
    with cluster.connect(template_of(core)) as connection:
        return look(connection, core)


# The worker.


def test_the_calls_of_a_core_are_those_that_it_has(cluster: Cluster) -> None:
    old, new = calls(cluster, OLD), calls(cluster, NEW)
    assert (old.reader, old.stopped_at, old.deprecated_at) == ("pgflow", True, False)
    assert (new.reader, new.stopped_at, new.deprecated_at) == ("pgmq", False, True)
    assert "task_index" not in old.record
    assert "task_index" in new.record


def test_calls_come_through_a_command_line() -> None:
    given = Calls("0.5.0", "pgflow", ("run_id", "input"), stopped_at=True, deprecated_at=False)
    assert Calls.load(given.dump()) == given
    assert Calls.load(given.adapter.command[-1]) == given


@pytest.mark.parametrize(
    ("age", "core", "refused"),
    [
        (OLD, OLD, None),
        (NEW, NEW, None),
        (OLD, NEW, ["read messages", "mark itself as stopped"]),
        (NEW, OLD, ["give a sign of life", "start tasks"]),
    ],
)
def test_a_worker_of_its_time_works_on_its_own_core(
    age: str, core: str, refused: list[str] | None, cluster: Cluster, tmp_path: Path
) -> None:
    trial = Trial(case_of(1), [calls(cluster, age).adapter], tmp_path, 2.0, core)
    trial.run(cluster)
    said = [json.loads(line) for line in trial.workers[0].stderr().splitlines() if line[:1] == "{"]
    if refused is None:
        assert (trial.outcome, trial.problems, said) == ("passed", [], [])
    else:
        assert trial.outcome == "failed"
        assert list(dict.fromkeys(line["doing"] for line in said)) == refused


def test_what_is_refused_can_be_run_by_hand(cluster: Cluster, tmp_path: Path) -> None:
    trial = Trial(case_of(1), [calls(cluster, OLD).adapter], tmp_path, 2.0, NEW)
    trial.run(cluster)
    line = json.loads(trial.workers[0].stderr().splitlines()[0])
    with (
        cluster.connect(template_of(NEW)) as connection,
        pytest.raises(psycopg.errors.UndefinedFunction),
    ):
        connection.execute(line["sql"].encode())


# What it comes to.


def crossed(old: Crossed, new: Crossed) -> dict[tuple[str, str], Crossed]:
    return {(OLD, OLD): WORKS, (NEW, NEW): WORKS, (OLD, NEW): old, (NEW, OLD): new}


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        (True, True, "same", "in any order"),
        (True, False, "changed", "The core first"),
        (False, True, "changed", "The workers first"),
        (False, False, "broken", "stop them, upgrade the core"),
    ],
)
def test_the_order_of_an_upgrade(*, old: bool, new: bool, kind: str, words: str) -> None:
    *_, order = findings(OLD, NEW, crossed(Crossed(old), Crossed(new)))
    assert (order.kind, order.who) == (kind, "operators")
    assert words in order.detail


def test_a_call_that_the_candidate_refuses_is_broken_and_shown() -> None:
    found = list(findings(OLD, NEW, crossed(Crossed(works=False, refused=(READ,)), WORKS)))
    assert (found[0].kind, found[0].what) == ("broken", "old worker, new core: read messages")
    assert "no such thing (SQLSTATE 42883)" in found[0].detail
    assert found[0].script == "SELECT 1;"


def test_a_call_that_the_base_refuses_is_no_break() -> None:
    found = list(findings(OLD, NEW, crossed(WORKS, Crossed(works=False, refused=(READ,)))))
    assert [one.kind for one in found] == ["same", "changed", "changed"]


def test_who_works_without_a_call_may_still_be_upgraded_in_any_order() -> None:
    found = list(findings(OLD, NEW, crossed(Crossed(works=True, refused=(STOP,)), WORKS)))
    assert [one.kind for one in found] == ["broken", "same", "same"]
    assert "It does its work for all that" in found[0].detail


def test_a_worker_that_does_not_work_at_home_proves_nothing() -> None:
    given = {**crossed(WORKS, WORKS), (OLD, OLD): Crossed(works=False, problems=("it died",))}
    with pytest.raises(CannotRun, match=r"calls of 0\.5\.0 does not run on it: it died"):
        list(findings(OLD, NEW, given))


def test_a_candidate_on_which_its_own_calls_fail_is_broken() -> None:
    own = Crossed(works=False, refused=(READ,))
    old, new = findings(OLD, NEW, {**crossed(WORKS, WORKS), (NEW, NEW): own})
    assert (old.kind, new.kind, new.what) == ("same", "broken", "new worker, new core")
    assert "no such thing" in new.detail
    assert new.script == "SELECT 1;"


def test_a_core_and_itself_have_nothing_to_cross() -> None:
    assert list(findings(OLD, OLD, {(OLD, OLD): WORKS})) == []


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (WORKS, WORKS, "same"),
        (WORKS, Crossed(works=False, problems=("no",)), "broken"),
        (Crossed(works=False, unsupported="too old"), WORKS, "changed"),
        (Crossed(works=False), Crossed(works=False, unsupported="no map"), "same"),
    ],
)
def test_a_worker_of_today(before: Crossed, after: Crossed, kind: str) -> None:
    (found,) = of_today("mine", OLD, NEW, {OLD: before, NEW: after})
    assert found.kind == kind
    why = after if not after.works else before
    assert (why.unsupported or "".join(why.problems)) in found.detail


# What may be chance.


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (WORKS, 1),
        (Crossed(works=False, problems=("it was slow",)), 2),
        (Crossed(works=False, refused=(READ,), problems=("nothing is done",)), 1),
        (Crossed(works=False, unsupported="it is not made for it"), 1),
    ],
)
def test_a_failure_without_a_reason_is_tried_once_more(
    first: Crossed, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [first, WORKS]
    monkeypatch.setattr(crossing, "_once", lambda *_: left.pop(0))
    how = crossing._cross(*[None] * 4)  # type: ignore[arg-type]
    assert len(left) == 2 - tries
    assert how == (WORKS if tries == 2 else first)
