"""`pgflow-ref flows`, `upsert`, `delete`, `health`, `recover`, `prune` and `doctor`."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_ref import profiles
from pgflow_ref.remedies import defects
from tests.command_line import FLOWS, NOWHERE, SECRET, told
from tests.flows_for_tests import hello, patient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.command_line import Call
    from tests.conftest import Database

    Answer = Callable[[str], None]

ORDER: dict[str, Any] = {
    "slug": "order",
    "max_attempts": 5,
    "steps": [{"slug": "check"}, {"slug": "charge", "deps": ["check"], "timeout": 30}],
}


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """What stands on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def order(tmp_path: Path) -> Path:
    path = tmp_path / "order.json"
    path.write_text(json.dumps(ORDER))
    return path


def over(database: Database, days: int) -> None:
    """A run of `hello` that was completed so many days ago."""
    run_id = database.start("hello", "Ada")
    database.rows(
        "UPDATE pgflow.runs SET status = 'completed', remaining_steps = 0,"
        " started_at = now() - make_interval(days => %s),"
        " completed_at = now() - make_interval(days => %s) WHERE run_id = %s",
        days,
        days,
        run_id,
    )


def runs(database: Database) -> int:
    count: int = database.value("SELECT count(*) FROM pgflow.runs")
    return count


# flows


def test_flows_are_listed_with_their_runs_and_queues(database: Database, call: Call) -> None:
    assert "no flows yet" in call("flows", "--url", database.url).stdout
    database.add(hello)
    database.add(patient)
    database.start(hello)
    database.start(hello)
    over(database, 1)
    drawn = call("flows", "--url", database.url)
    assert (drawn.returncode, drawn.stderr) == (0, "")
    line = next(line for line in drawn.stdout.splitlines() if line.startswith("hello"))
    assert line.split()[:7] == ["hello", "greet,", "shout", "2", "1", "0", "3"]
    found = json.loads(call("flows", "--json", "--url", database.url).stdout)
    assert [flow["flow_slug"] for flow in found] == ["hello", "patient"]
    assert found[0]["steps"] == ["greet", "shout"]
    assert (found[0]["started"], found[0]["completed"], found[0]["failed"]) == (2, 1, 0)
    assert (found[0]["queue"]["messages"], found[1]["queue"]["messages"]) == (3, 0)


def test_flows_of_a_database_without_a_core(empty: str, call: Call) -> None:
    for command in ("flows", "doctor"):
        assert "`pgflow-ref install URL` puts one there" in told(call(command, "--url", empty))


# upsert


def test_upsert_defines_a_flow(database: Database, call: Call, order: Path) -> None:
    result = call("upsert", order, "--url", database.url)
    assert (result.returncode, result.stdout) == (0, "flow 'order': compiled\n")
    assert database.rows("SELECT step_slug, opt_timeout FROM pgflow.steps ORDER BY step_index") == [
        ("check", None),
        ("charge", 30),
    ]
    assert database.value("SELECT opt_max_attempts FROM pgflow.flows") == 5


def test_upsert_asks_before_it_deletes(
    database: Database, call: Call, order: Path, answer: Answer
) -> None:
    words = ("upsert", order, "--url", database.url)
    call(*words)
    database.start("order")
    answer("no\n")
    refused = call(*words)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "Delete flow 'order' with all its runs, and define it anew? [y/N] nothing was changed\n"
    )
    assert runs(database) == 1
    answer("y\n")
    assert call(*words).stdout == "flow 'order': recompiled\n"
    assert runs(database) == 0
    assert json.loads(call(*words, "--yes", "--json").stdout) == {
        "flow_slug": "order",
        "status": "recompiled",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "order.json is no JSON: line 1, column 2"),
        ("[]", "order.json: a flow is an object with slug and steps"),
        ('{"slug": "order"}', "order.json: the flow has no steps"),
        ('{"steps": []}', "order.json: the flow has no slug"),
        ('{"slug": "order", "step": []}', "'step' is no key of a flow; those are slug, steps"),
        ('{"slug": 7, "steps": [{"slug": "a"}]}', "a slug is text, not int"),
        ('{"slug": "order", "steps": "a"}', "steps is a list"),
        ('{"slug": "order", "steps": [{"slug": "a", "deps": ["b"]}]}', "step 'a'"),
        ('{"slug": "order", "steps": [{"slug": "a"}], "timeout": "1"}', "timeout is a whole"),
    ],
)
def test_definitions_that_are_none(
    text: str, said: str, database: Database, call: Call, order: Path
) -> None:
    order.write_text(text)
    assert said in told(call("upsert", order, "--yes", "--url", database.url))
    assert database.value("SELECT count(*) FROM pgflow.flows") == 0


# delete


def test_delete_asks_first(database: Database, call: Call, answer: Answer) -> None:
    database.start(database.add(hello))
    words = ("delete", "hello", "--url", database.url)
    for no in ("n\n", "\n", "yesterday\n"):
        answer(no)
        assert (call(*words).returncode, runs(database)) == (1, 1)
    answer("")
    assert "nobody answers; --yes does it without asking" in call(*words).stderr
    answer("Yes\n")
    assert call(*words).stdout == "flow 'hello': deleted\n"
    assert database.value("SELECT count(*) FROM pgflow.flows") == 0
    assert call(*words, "--yes").stdout == "flow 'hello': was not there\n"
    assert json.loads(call(*words, "--yes", "--json").stdout) == {
        "flow_slug": "hello",
        "deleted": False,
    }


def test_nobody_is_asked_where_nobody_answers(
    database: Database, call: Call, answer: Answer
) -> None:
    database.add(hello)
    answer("")
    result = call("delete", "hello", "--url", database.url)
    assert (result.returncode, result.stdout) == (2, "")
    assert database.value("SELECT count(*) FROM pgflow.flows") == 1


# health


def test_health_of_a_database_where_all_is_well(
    database: Database, call: Call, work: Callable[..., Any]
) -> None:
    work(database.add(hello))
    result = call("health", "--url", database.url)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("ok  PostgreSQL ")
    assert "hello" in result.stdout
    found = json.loads(call("health", "--json", "--url", database.url).stdout)
    assert (found["status"], found["problems"], found["core"]) == ("ok", [], "0.5.0")
    assert found["workers"][0]["flow_slug"] == "hello"


def test_health_of_a_database_that_needs_looking_after(database: Database, call: Call) -> None:
    database.start(database.add(hello))
    result = call("health", "--url", database.url)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith("degraded")
    assert "waiting messages: 1, and no worker" in result.stdout


def test_health_of_a_database_that_is_not_there(empty: str, call: Call) -> None:
    for url in (NOWHERE, empty):
        result = call("health", "--url", url)
        assert (result.returncode, result.stderr) == (2, "")
        assert result.stdout.startswith("down")
        assert SECRET not in result.stdout
        assert json.loads(call("health", "--json", "--url", url).stdout)["status"] == "down"


# recover


@pytest.mark.parametrize("flow", [[], ["hello"], [f"{FLOWS}:hello"]])
def test_recover_puts_stalled_tasks_back(flow: list[str], database: Database, call: Call) -> None:
    stall(database)
    result = call("recover", *flow, "--url", database.url, "--grace", "1m")
    assert (result.returncode, result.stdout) == (0, "1 task put back, 0 failed\n")
    again = call("recover", *flow, "--url", database.url, "--json")
    assert json.loads(again.stdout) == {"requeued": 0, "failed": 0}


def stall(database: Database) -> None:
    """A task that somebody began an hour ago, and never ended."""
    database.start(database.add(hello))
    database.rows(
        "UPDATE pgflow.step_tasks SET status = 'started', attempts_count = 1,"
        " queued_at = now() - interval '1 hour', started_at = now() - interval '1 hour'"
    )


def test_recover_leaves_alone_what_is_not_stalled_yet(database: Database, call: Call) -> None:
    stall(database)
    result = call("recover", "--url", database.url, "--grace", "2h")
    assert result.stdout == "0 tasks put back, 0 failed\n"
    assert "is no duration" in told(call("recover", "--url", database.url, "--grace", "30"))


# prune


def test_prune_deletes_old_runs(database: Database, call: Call, answer: Answer) -> None:
    database.add(hello)
    for days in (1, 40, 50):
        over(database, days)
    database.start(hello)
    words = ("prune", "--older-than", "30d", "--url", database.url)
    dry = call(*words, "--dry-run")
    assert dry.stdout == "would delete 2 runs, 2 tasks, 2 messages\n"
    assert runs(database) == 4
    answer("n\n")
    refused = call(*words)
    assert (refused.returncode, refused.stdout, runs(database)) == (1, "", 4)
    assert "Delete all runs of all flows that have been over for 30 d? [y/N]" in refused.stderr
    assert call(*words, "--yes").stdout == "deleted 2 runs, 2 tasks, 2 messages\n"
    assert runs(database) == 2
    of_flow = (*words[:2], "1h", *words[3:], "--flow", "hello", "--yes", "--json")
    assert json.loads(call(*of_flow).stdout)["runs"] == 1
    assert runs(database) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing option '--older-than'"),
        (["--older-than", "30"], "'30' is no duration; it looks like 45s"),
        (["--older-than", "-1d"], "'-1d' is no duration"),
        (["--older-than", "1d", "--yes"], "no connection to database"),
    ],
)
def test_prunes_that_cannot_be_tried(words: list[str], said: str, call: Call) -> None:
    assert said in told(call("prune", *words, "--url", NOWHERE))


# doctor


@pytest.mark.parametrize("core", ["0.5.0", "0.8.1"])
def test_doctor_tells_of_defects(
    core: str, call: Call, databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with databases.database(core) as database:
        result = call("doctor", "--url", database.url)
        found = json.loads(call("doctor", "--json", "--url", database.url).stdout)
    assert (result.returncode, result.stderr) == (0, "")
    assert found["capabilities"]["core"] == core
    known = defects(profiles.load(core))
    assert [one["name"] for one in found["defects"]] == [defect.name for defect in known]
    assert f"{len(known)} known defects" in result.stdout
    for defect in known:
        for text in (defect.name, defect.says, defect.means, defect.remedy):
            assert text in result.stdout
